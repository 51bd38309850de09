"""Readers and writers, one file for each library: the only place that knows foreign conventions of axes."""

import pipeline.geometry  # noqa: F401 - imports nibabel as it has to be, before a reader does
