"""Every setting: a file per section, and the reader that reports all problems of a file at once."""
