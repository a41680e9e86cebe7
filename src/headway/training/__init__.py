"""The training loop around Lightning, and what makes it safe to interrupt."""
