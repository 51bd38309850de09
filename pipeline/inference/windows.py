"""Where the windows of a sliding window lie, and what they leave behind: arithmetic of sizes, without torch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product

Size = tuple[int, ...]
Place = tuple[int, ...]
"""A window by its number along each axis; a cell too."""
Box = tuple[slice, ...]
LARGE_BYTES = 10**9
"""What sums over windows may take in 32 bits; above that, those that wait are put away in 8."""


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """Where patches begin along an axis: evenly spread, the first at 0 and the last ending with the image.

    Example:
        >>> starts(10, patch=4, overlap=0.5)
        [0, 2, 4, 6]
    """
    last = size - patch
    steps = -(-last // max(1, int(patch * (1 - overlap))))  # rounded up
    return [round(last * index / steps) for index in range(steps + 1)] if steps > 0 else [0]


def padded_shape(shape: Size, patch_size: Size) -> Size:
    """The shape of an image that is padded to at least the patch's size."""
    return tuple(max(n, p) for n, p in zip(shape, patch_size, strict=True))


def nesting(shape: Size, patch_size: Size) -> tuple[int, ...]:
    """The axes along which windows advance, the slowest first: the one with the most patches in its length, and so on.

    So what windows leave behind for later ones is as little as it can be. It follows from the sizes alone: a scan has
    the same mask on every machine.

    Example: patches of (64, 64, 64) go through (300, 400, 600) layer by layer of axis 2, there row by row of axis 1.
    """
    return tuple(sorted(range(len(shape)), key=lambda axis: -max(shape[axis], patch_size[axis]) / patch_size[axis]))


@dataclass(frozen=True)
class Part:
    """What a window has of a cell: the voxels at its beginning.

    Attributes:
        corner: where the cell begins in the window.
        shape: how far the window reaches into it.
    """

    corner: Size
    shape: Size

    @property
    def in_window(self) -> Box:
        """These voxels, counted from the window's first one."""
        return tuple(slice(at, at + n) for at, n in zip(self.corner, self.shape, strict=True))

    @property
    def in_cell(self) -> Box:
        """These voxels, counted from the cell's first one."""
        return tuple(slice(n) for n in self.shape)


@dataclass(frozen=True)
class WindowGrid:
    """The windows of an image, and the cells between their corners.

    Cell i of an axis reaches from where window i begins to where the next one does, or to the end. A window touches its
    own cell, which is complete with it, and later ones. Of a patch of 4 and a size of 9:

        voxels   0  1  2  3  4  5  6  7  8
        windows  [--------]
                       [--------]
                          [--------]
                                [--------]
        cells     0  0  1  2  2  3  3  3  3

    Attributes:
        shape: of the image, at least the patch's.
        patch_size: of a window.
        overlap: of neighbours.
    """

    shape: Size
    patch_size: Size
    overlap: float

    @cached_property
    def corners(self) -> tuple[tuple[int, ...], ...]:
        """Where the cells of each axis begin, and where the last one ends."""
        sizes = zip(self.shape, self.patch_size, strict=True)
        return tuple((*starts(size, patch, self.overlap), size) for size, patch in sizes)

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes, the slowest first."""
        return nesting(self.shape, self.patch_size)

    def places(self) -> Iterator[Place]:
        """All windows, in the order in which they are run."""
        numbers = [range(len(self.corners[axis]) - 1) for axis in self.order]
        for place in product(*numbers):
            yield tuple(place[self.order.index(axis)] for axis in range(len(self.shape)))

    def window(self, place: Place) -> Box:
        """The voxels of a window."""
        corners = (corners[number] for corners, number in zip(self.corners, place, strict=True))
        return tuple(slice(corner, corner + patch) for corner, patch in zip(corners, self.patch_size, strict=True))

    def cell(self, place: Place) -> Box:
        """The voxels of a cell."""
        return tuple(slice(*corners[number : number + 2]) for corners, number in zip(self.corners, place, strict=True))

    def touched(self, place: Place) -> Iterator[tuple[Place, Part]]:
        """The cells that a window touches, its own first, and the part of each: from its first voxel, not always all.

        Of the picture above, window 1 has all of cells 1 and 2 and the first voxel of cell 3.
        """
        axes = []
        for corners, number, patch in zip(self.corners, place, self.patch_size, strict=True):
            first = corners[number]
            cells = enumerate(pairwise(corners[number:]), start=number)
            axes.append([(n, a - first, min(b - a, first + patch - a)) for n, (a, b) in cells if a < first + patch])
        for parts in product(*axes):
            yield tuple(n for n, _, _ in parts), Part(tuple(at for _, at, _ in parts), tuple(n for _, _, n in parts))

    def rests(self, cell: Place, place: Place) -> bool:
        """Whether a cell that the window at a place touches is not touched by the next one of its row, nor by any."""
        fastest = self.order[-1]
        return cell[fastest] == place[fastest]


@dataclass(frozen=True)
class Held:
    """The most voxels that are held at once while windows pass.

    Attributes:
        at_work: of cells that a window adds to.
        total: of these and of those that wait for later windows.
        cell: of the largest cell.
    """

    at_work: int
    total: int
    cell: int


def most_held(grid: WindowGrid) -> Held:
    """What windows leave behind at most, of a cell no more than they have touched; found by going through them."""
    held: dict[Place, Size] = {}
    at_work = total = now = largest = 0
    for place in grid.places():
        used = 0
        for cell, part in grid.touched(place):
            before = held.get(cell, (0,) * len(place))
            held[cell] = tuple(map(max, before, part.shape))
            now += math.prod(held[cell]) - math.prod(before)
            used += math.prod(held[cell])
        at_work, total, done = max(at_work, used), max(total, now), math.prod(held.pop(place))
        now, largest = now - done, max(largest, done)
    return Held(at_work, total, largest)


def is_large(classes: int, voxels: int) -> bool:
    """Whether sums of so many voxels at once are put away in 8 bits; from sizes alone, on every machine the same."""
    return 4 * classes * voxels > LARGE_BYTES
