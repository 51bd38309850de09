"""Readers and writers, one file for each library: the only place that knows foreign conventions of axes."""
