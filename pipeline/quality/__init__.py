"""Whether a scan is like those a model learnt from, and how good a mask is without a reference: arrays in, numbers out.

What is fitted to too few cases raises `DatasetError`, and NaN, infinity or another number of features `ModelError`: all
of it goes through `features`. scikit-learn is imported where something is fitted or judged, never to score a new scan.
"""
