"""The structures in a mask, each measured in the box that it fills: many labels cost hardly more than one."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.geometry import Unit

NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a corner belong together, as connected components are usually counted in three dimensions."""
SPECK_SHARE = 0.01
"""A part below this share of its structure counts as none: networks leave single voxels that change nothing."""
LARGEST = 2**16 - 1
"""Of the values of labels: the largest that every format of masks holds."""


@dataclass(frozen=True)
class Structure:
    """Where a label is.

    Attributes:
        inside: the box of the label (I, J, K), True where the label is.
        box: where the box lies in the mask.
        voxels: how many there are.
    """

    inside: NDArray[np.bool_]
    box: tuple[slice, ...]
    voxels: int

    @property
    def first(self) -> tuple[int, ...]:
        """The first index along each axis."""
        return tuple(each.start for each in self.box)

    @property
    def last(self) -> tuple[int, ...]:
        """The last index along each axis."""
        return tuple(each.stop - 1 for each in self.box)

    def parts(self) -> int:
        """How many connected parts it has, specks left out; 1 where it is all specks."""
        numbers, count = ndimage.label(self.inside, NEIGHBOURS)
        if count <= 1:
            return count
        sizes = np.bincount(numbers.reshape(-1))[1:]
        return max(1, int(np.count_nonzero(sizes >= SPECK_SHARE * self.voxels)))

    def touches_border(self, shape: tuple[int, ...], unit: Unit) -> bool:
        """Whether it reaches the edge of the scan; a picture has none above or below it."""
        axes = [axis for axis, size in enumerate(shape) if size > 1 or unit == "mm"]
        return any(self.first[axis] == 0 or self.last[axis] == shape[axis] - 1 for axis in axes)


def structures_in(mask: NDArray[np.unsignedinteger]) -> Iterator[tuple[int, Structure]]:
    """The values from 1 to `LARGEST` in a mask (I, J, K), in rising order, with what they cover."""
    largest = min(int(mask.max(initial=0)), LARGEST)
    for value, box in enumerate(ndimage.find_objects(mask, largest) if largest else [], start=1):
        if box is not None:
            inside = mask[box] == value
            yield value, Structure(inside, box, int(np.count_nonzero(inside)))
