"""Rows: read, split, checked, tokenised and put into batches."""
