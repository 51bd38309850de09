"""What all damages need: the values of channels as floats, how far they spread, and a scan with other values."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.scan import Scan

Floats = NDArray[np.float64]
LARGEST = float(np.finfo(np.float32).max)
SPREAD_PERCENTILES = (0.5, 99.5)
"""Between them lies what a channel spreads over: single voxels, such as those of metal, do not count."""


def channels(scan: Scan) -> Iterator[Floats]:
    """The channels of a scan (I, J, K), each as a copy that a sum or product of values cannot overflow."""
    yield from (channel.astype(np.float64) for channel in scan.array)


def with_values(scan: Scan, values: Iterable[NDArray]) -> Scan:
    """The scan with these channels (I, J, K) instead of its own, as 32-bit floats; beyond their range they are cut."""
    array = np.stack([np.clip(channel, -LARGEST, LARGEST, dtype=np.float64).astype(np.float32) for channel in values])
    return replace(scan, array=array)


def low_and_high(channel: Floats) -> tuple[float, float]:
    """Between which values a channel spreads; its extremes where next to all voxels have one value, as in a mask."""
    low, high = (float(value) for value in np.percentile(channel, SPREAD_PERCENTILES))
    return (low, high) if low < high else (float(channel.min()), float(channel.max()))


def spread(channel: Floats) -> float:
    """How far the values of a channel lie apart; 0 where all are the same."""
    low, high = low_and_high(channel)
    return high - low


def lowest_signal(channel: Floats) -> float:
    """The value that stands for no signal.

    That is 0 in the magnitude image of an MR scanner. Where values lie below 0, as in CT or in what was normalised
    before, it is the lowest of them. What is damaged as a magnitude is counted from here, so that none gets values that
    no scanner would give.
    """
    return min(float(channel.min()), 0.0)


def long_axes(shape: tuple[int, ...]) -> list[int]:
    """The axes along which there is more than one voxel; the first one where there is none."""
    return [axis for axis, size in enumerate(shape) if size > 1] or [0]


def any_axis(shape: tuple[int, ...], rng: np.random.Generator) -> int:
    """One of the axes along which there is more than one voxel."""
    axes = long_axes(shape)
    return axes[int(rng.integers(len(axes)))]
