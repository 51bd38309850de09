"""Preflight: everything that is wrong with a data set, before hours are spent on it, and what to do about each thing.

Headers are read in seconds; a deep check reads the voxels as well.
"""
