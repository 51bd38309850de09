"""Where the windows of a sliding window lie, and what they leave behind: arithmetic of sizes, without torch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise, product

Size = tuple[int, ...]
Place = tuple[int, ...]
"""A window by its number along each axis; a cell too."""
Box = tuple[slice, ...]
LARGE_BYTES = 2 * 10**9
"""What sums over windows may take in 32 bits; above that, those that wait are put away in 8."""
KEPT_BYTES = 32 * 10**6
"""What logits and features of a window of one value may take, to be kept for the next such window."""


def starts(size: int, patch: int, overlap: float) -> list[int]:
    """Where patches begin along an axis: evenly spread, the first at 0 and the last ending with the image.

    Example:
        >>> starts(10, patch=4, overlap=0.5)
        [0, 2, 4, 6]
    """
    last = size - patch
    steps = -(-last // _step(patch, overlap))  # rounded up
    return [round(last * index / steps) for index in range(steps + 1)] if steps > 0 else [0]


def _step(patch: int, overlap: float) -> int:
    """The largest distance of two neighbours that share as much as they are to share."""
    return max(1, int(patch * (1 - overlap)))


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


@dataclass(frozen=True)
class WindowGrid:
    """The windows of an image, and the cells between their corners.

    Cell i of an axis reaches from where window i begins to where the next one does; what the last window has is divided
    into cells of about that size. A window touches its own cell, which is complete with it, and later ones. Of a patch
    of 4 and a size of 9:

        voxels   0  1  2  3  4  5  6  7  8
        windows  [--------]
                       [--------]
                          [--------]
                                [--------]
        cells     0  0  1  2  2  3  3  4  4

    Attributes:
        shape: of the image, at least the patch's.
        patch_size: of a window.
        overlap: of neighbours.
    """

    shape: Size
    patch_size: Size
    overlap: float

    @cached_property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """Where the windows of each axis begin."""
        sizes = zip(self.shape, self.patch_size, strict=True)
        return tuple(tuple(starts(size, patch, self.overlap)) for size, patch in sizes)

    @cached_property
    def corners(self) -> tuple[tuple[int, ...], ...]:
        """Where the cells of each axis begin, and where the last one ends."""
        axes = zip(self.starts, self.patch_size, self.shape, strict=True)
        return tuple((*begins, *self._last(patch, size, is_alone=len(begins) == 1)) for begins, patch, size in axes)

    def _last(self, patch: int, size: int, *, is_alone: bool) -> Iterator[int]:
        """Where the cells end that the last window of an axis has alone."""
        parts = 1 if is_alone else -(-patch // _step(patch, self.overlap))  # rounded up
        return (size - patch + round(patch * part / parts) for part in range(1, parts + 1))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """The axes, the slowest first."""
        return nesting(self.shape, self.patch_size)

    def places(self) -> Iterator[Place]:
        """All cells, row by row and layer by layer: each is complete once its own window, if it has one, was run."""
        numbers = [range(len(self.corners[axis]) - 1) for axis in self.order]
        for place in product(*numbers):
            yield tuple(place[self.order.index(axis)] for axis in range(len(self.shape)))

    def has_window(self, place: Place) -> bool:
        """Whether a window begins where a cell does."""
        return all(number < len(begins) for number, begins in zip(place, self.starts, strict=True))

    def window(self, place: Place) -> Box:
        """The voxels of a window."""
        corners = (begins[number] for begins, number in zip(self.starts, place, strict=True))
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


@dataclass(frozen=True)
class Held:
    """The most voxels that are held at once while windows pass.

    Attributes:
        total: of all cells that are not handed out.
        cell: of the largest cell.
    """

    total: int
    cell: int


@lru_cache(64)
def most_held(grid: WindowGrid) -> Held:
    """What windows leave behind at most, of a cell no more than they have touched; found by going through them."""
    held: dict[Place, Size] = {}
    total = now = largest = 0
    for place in grid.places():
        for cell, part in grid.touched(place) if grid.has_window(place) else ():
            before = held.get(cell, (0,) * len(place))
            held[cell] = tuple(map(max, before, part.shape))
            now += math.prod(held[cell]) - math.prod(before)
        total, done = max(total, now), math.prod(held.pop(place))
        now, largest = now - done, max(largest, done)
    return Held(total, largest)


def is_large(classes: int, voxels: int) -> bool:
    """Whether sums of so many voxels at once are put away in 8 bits; from sizes alone, on every machine the same."""
    return 4 * classes * voxels > LARGE_BYTES
