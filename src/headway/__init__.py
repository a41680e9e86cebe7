"""headway: take a pretrained transformer and make it good at your text."""

__version__ = "0.1.0"
