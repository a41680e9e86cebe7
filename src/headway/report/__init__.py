"""The report of a run: one page for people (`html.write_report`) and one model card (`card.write_card`)."""

from headway.report.card import write_card
from headway.report.html import write_report

__all__ = ["write_card", "write_report"]
