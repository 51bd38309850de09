"""Parts of a scan that are missing, or do not belong where they are.

Boxes grow with the strength, each around the smaller one: where a box lies in what room its size leaves is drawn as a
share of that room.
"""

import math
from collections.abc import Sequence

import numpy as np

from pipeline.damage.values import Floats, any_axis, channels, long_axes, with_values
from pipeline.scan import Scan

MISSING_SHARE = 0.75
"""The largest share of a scan that is missing."""
PATCH_SHARE = 0.6
"""The largest side of a foreign patch, as a share of the scan's."""
GAIN = 2.0
"""The largest factor on the intensities of a patch; the smallest is 1 / 2."""

Box = tuple[slice, ...]


def missing(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """A slab of the scan has its lowest value. The structures in it are still there in the patient.

    Near 0, one slice is missing. At 1, three quarters of the scan are; of two slices, one.
    """
    axis = any_axis(scan.shape, rng)
    sizes = list(scan.shape)
    sizes[axis] = min(_share_of(sizes[axis], strength * MISSING_SHARE), max(sizes[axis] - 1, 1))
    box = box_at(scan.shape, sizes, [float(rng.random())] * 3)
    return with_values(scan, (_filled(channel, box, channel.min()) for channel in channels(scan)))


def patch(scan: Scan, strength: float, rng: np.random.Generator) -> Scan:
    """A box shows another part of the same scan, upside down in a plane, and brighter or darker.

    Near 0, it is one voxel large. At 1, each of its sides is 0.6 of the scan's.
    """
    sizes = [_share_of(size, strength * PATCH_SHARE) for size in scan.shape]
    places = rng.random(3)
    opposite = (places + 0.5) % 1
    target, source = box_at(scan.shape, sizes, places.tolist()), box_at(scan.shape, sizes, opposite.tolist())
    plane = tuple(int(axis) for axis in rng.permutation(long_axes(scan.shape))[:2])
    gain = GAIN ** rng.uniform(-1, 1)
    foreign = (np.flip(_scaled(channel, gain)[source], plane) for channel in channels(scan))
    return with_values(
        scan, (_filled(channel, target, box) for channel, box in zip(channels(scan), foreign, strict=True))
    )


def box_at(shape: tuple[int, ...], sizes: Sequence[int], places: Sequence[float]) -> Box:
    """A box of these sizes, which leaves room before it in these shares of all room.

    With one share and growing sizes, each box holds the smaller ones: as a side grows by 1, the box begins where it
    did, or one voxel before.

    Args:
        shape: of the volume.
        sizes: of the box, none larger than the volume.
        places: from 0 to just below 1; 0 is a box at the beginning.

    Example:
        >>> box_at((10, 1, 4), [4, 1, 4], [0.5, 0.5, 0.5])
        (slice(3, 7, None), slice(0, 1, None), slice(0, 4, None))
    """
    starts = [int(place * (whole - size + 1)) for whole, size, place in zip(shape, sizes, places, strict=True)]
    return tuple(slice(start, start + size) for start, size in zip(starts, sizes, strict=True))


def _share_of(size: int, share: float) -> int:
    """A share of voxels, rounded up, so that it is never none."""
    return max(1, math.ceil(share * size))


def _filled(channel: Floats, box: Box, values: Floats | float) -> Floats:
    channel[box] = values
    return channel


def _scaled(channel: Floats, gain: float) -> Floats:
    """Brighter or darker, counted from the lowest value."""
    low = channel.min()
    return low + (channel - low) * gain
