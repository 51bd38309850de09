"""Scores of masks against their references: a row per case and label, statistics over cases, and the files of both."""
