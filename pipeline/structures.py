"""The structures in a mask, each measured in the boxes that it fills: many labels cost hardly more than one.

A few stray voxels stretch the box of a label over the whole scan. So a box is looked at in blocks of voxels first, and
taken apart where groups of blocks do not touch: what lies in different groups cannot touch either.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.geometry import Unit

NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a corner belong together, as connected components are usually counted in three dimensions."""
SPECK_SHARE = 0.01
"""A part below this share of the largest one counts as none: networks leave single voxels that change nothing."""
LARGEST = 2**16 - 1
"""Of the values of labels: the largest that every format of masks holds."""
BLOCK = 8
"""Voxels of a block along each axis."""

Box = tuple[slice, ...]


@dataclass(frozen=True)
class Piece:
    """Some of the connected parts of a label, each of them whole.

    Attributes:
        box: where it lies in the mask.
        inside: the box (I, J, K), True where the label is.
    """

    box: Box
    inside: NDArray[np.bool_]

    def part_sizes(self) -> NDArray[np.int_]:
        """The voxels of each connected part."""
        numbers, _ = ndimage.label(self.inside, NEIGHBOURS)
        return np.bincount(numbers.reshape(-1))[1:]


@dataclass(frozen=True)
class Structure:
    """Where a label is.

    Attributes:
        box: the smallest box in the mask that holds it.
        pieces: what it consists of.
        voxels: how many there are.
    """

    box: Box
    pieces: tuple[Piece, ...]
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
        """How many connected parts it has, specks left out."""
        sizes = np.concatenate([piece.part_sizes() for piece in self.pieces])
        return int(np.count_nonzero(sizes >= SPECK_SHARE * sizes.max()))

    def touches_border(self, shape: tuple[int, ...], unit: Unit) -> bool:
        """Whether it reaches the edge of the scan; a picture has none above or below it."""
        axes = [axis for axis, size in enumerate(shape) if size > 1 or unit == "mm"]
        return any(self.first[axis] == 0 or self.last[axis] == shape[axis] - 1 for axis in axes)


def structures_in(mask: NDArray[np.unsignedinteger]) -> Iterator[tuple[int, Structure]]:
    """The values from 1 to `LARGEST` in a mask (I, J, K), in rising order, with what they cover.

    Take them one by one: each holds as many bytes as its boxes have voxels.
    """
    largest = min(int(mask.max(initial=0)), LARGEST)
    for value, box in enumerate(ndimage.find_objects(mask, largest) if largest else [], start=1):
        if box is not None:
            pieces = tuple(_pieces(Piece(box, mask[box] == value)))
            yield value, Structure(box, pieces, sum(int(np.count_nonzero(piece.inside)) for piece in pieces))


def _pieces(whole: Piece) -> Iterator[Piece]:
    """What lies in each group of blocks that touch.

    Where the boxes of two groups overlap, each piece holds its own group alone.
    """
    groups, count = ndimage.label(_in_blocks(whole.inside), NEIGHBOURS)
    if count == 1:
        yield whole
        return
    for group, blocks in enumerate(ndimage.find_objects(groups), start=1):
        inner = tuple(slice(BLOCK * each.start, BLOCK * each.stop) for each in blocks)
        inside = whole.inside[inner]
        box = tuple(
            slice(outer.start + each.start, outer.start + each.start + size)
            for outer, each, size in zip(whole.box, inner, inside.shape, strict=True)
        )
        yield Piece(box, inside & _in_voxels(groups[blocks] == group, inside.shape))


def _in_blocks(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether the label is in each block; the last one along an axis may be smaller than the others."""
    for axis, size in enumerate(inside.shape):
        inside = np.logical_or.reduceat(inside, np.arange(0, size, BLOCK), axis=axis)
    return inside


def _in_voxels(blocks: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The voxels (I, J, K) of a shape that lie in some of its blocks."""
    for axis in range(blocks.ndim):
        blocks = blocks.repeat(BLOCK, axis=axis)
    return blocks[tuple(slice(size) for size in shape)]
