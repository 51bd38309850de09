"""Normalising intensities, channel by channel."""

import numpy as np
from numpy.typing import NDArray

from pipeline.preprocessing.fitted import ClipNormalisation, Normalisation

SMALLEST_STD = 1e-8


def normalise(channel: NDArray, how: Normalisation) -> NDArray[np.float32]:
    """Bring a channel (I, J, K) to about zero mean and unit deviation.

    A channel without any contrast becomes zero everywhere.
    """
    values = channel.astype(np.float32)
    if isinstance(how, ClipNormalisation):
        return (np.clip(values, how.low, how.high) - how.mean) / how.std
    inside = values != 0 if how.nonzero_only else np.ones(values.shape, bool)
    return np.where(inside, zscore(values, values[inside]), 0).astype(np.float32)


def scale_of(channel: NDArray, how: Normalisation) -> float:
    """By how much of a channel's own unit `normalise` changes one of its normalised unit."""
    if isinstance(how, ClipNormalisation):
        return how.std
    reference = channel[channel != 0] if how.nonzero_only else channel
    return max(float(reference.std(dtype=np.float64)), SMALLEST_STD) if reference.size else 0.0


def zscore(values: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float32]:
    """``values`` with the mean of ``reference`` subtracted and divided by its standard deviation."""
    if reference.size == 0:
        return np.zeros_like(values)
    mean, std = reference.mean(dtype=np.float64), reference.std(dtype=np.float64)
    return ((values - mean) / max(std, SMALLEST_STD)).astype(np.float32)
