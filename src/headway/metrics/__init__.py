"""Scores over whole splits, their intervals, and the simple methods they are compared with."""
