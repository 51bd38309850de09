"""Data sets on disk: which files are the cases, what the labels are called, and how patients are split."""
