"""What a run looks like to people: `pages.write_pages` writes its report and its model card."""

from headway.report.pages import predict_command, write_pages

__all__ = ["predict_command", "write_pages"]
