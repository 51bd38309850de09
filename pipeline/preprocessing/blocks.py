"""The likeliest class at each voxel of another grid, from scores that come block by block.

Along each axis an output voxel takes one input voxel or two, its taps. What is interpolated at an output needs these
and no others, so that of each block only its last planes are kept until the blocks behind it come (`Seams`).
Six planes in two blocks, made five:

    input   |  0  |  1  |  2  ||  3  |  4  |  5  |
    output  |   0  |   1  |   2   |   3  |   4  |        2 lies between planes 2 and 3, where the blocks meet

Sums and products are those of `scipy.ndimage.zoom`, in its order and in double precision: however the blocks are cut,
the result is that of `resample.resample_image` to the bit.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK_VOXELS = 2**16
"""Output voxels that are interpolated at once: their numbers in double precision fit into a processor's cache."""
MARGIN = 1e-5
"""More than rounding to 32 bits can add to an interpolated number, as a share of it."""


Box = tuple[slice, ...]
Block = tuple[Box, NDArray[np.floating]]
"""A box of the input, and its scores (classes, I, J, K)."""


@dataclass(frozen=True)
class Tap:
    """What output voxels take along one axis.

    Attributes:
        index: the input voxel of each output voxel.
        weight: what it is multiplied by; None for 1.
    """

    index: NDArray[np.intp]
    weight: NDArray[np.float64] | None = None

    def cut(self, outputs: slice) -> "Tap":
        """The tap of some of the outputs."""
        return Tap(self.index[outputs], None if self.weight is None else self.weight[outputs])

    def from_voxel(self, first: int) -> "Tap":
        """The same tap of an input that begins with voxel ``first``."""
        return Tap(self.index - first, self.weight)

    def apply(self, array: NDArray, axis: int) -> NDArray:
        """Take from an array along an axis."""
        taken = array.take(self.index, axis)
        if self.weight is None:
            return taken
        return taken * self.weight.reshape([-1 if other == axis else 1 for other in range(array.ndim)])


def find_taps(size: int, target: int, *, nearest: bool) -> tuple[Tap, ...]:
    """Where the outputs of an axis lie in its input: ``(j + 1/2) n/m - 1/2``, held within the input.

    Example: of 3 voxels made 4, output 1 lies at 0.625, so that it takes 0.375 of voxel 0 and 0.625 of voxel 1.

    Args:
        size: voxels of the input, n.
        target: voxels of the output, m.
        nearest: take the nearest voxel, the later one of two, instead of a mean of two.

    Returns:
        One tap, or two whose weights sum to 1.
    """
    if size == target:
        return (Tap(np.arange(target)),)
    position = (np.arange(target) + 0.5) * (size / target) - 0.5
    if nearest:
        return (Tap(np.floor(position + 0.5).astype(np.intp).clip(0, size - 1)),)
    before = np.floor(position).astype(np.intp)
    share = position - before
    first, second = (index.clip(0, size - 1) for index in (before, before + 1))
    return Tap(first, 1 - share), Tap(second, 1 - (1 - share))  # the sum is 1, which 1 - share and share may miss


def argmax_blocks(
    blocks: Iterable[Block],
    out: NDArray[np.uint8],
    *,
    shape: tuple[int, ...],
    order: tuple[int, ...],
    coarse: int | None,
) -> None:
    """Write the class with the largest score at each voxel; of equal scores, the first class.

    Args:
        blocks: they tile the input as the cells of a grid do, and come row by row and layer by layer.
        out: class numbers (I, J, K), of the wanted shape, written to block by block.
        shape: spatial shape of all blocks together.
        order: the axes, the one along which blocks advance slowest first.
        coarse: axis along which the nearest slice is taken, as in `resample.resample_image`.
    """
    sizes = zip(shape, out.shape, strict=True)
    taps = [find_taps(n, m, nearest=each == coarse) for each, (n, m) in enumerate(sizes)]
    seams = Seams(shape, order, tuple(len(each) > 1 for each in taps))
    done = 0
    for box, scores in blocks:
        corner, piece = seams.widened(box, scores)
        region = [
            slice(*np.searchsorted(each[-1].index, [side.start, side.stop]).tolist())  # these need nothing behind it
            for each, side in zip(taps, box, strict=True)
        ]
        for part in _chunks(region):
            local = [
                [tap.cut(outputs).from_voxel(first) for tap in each]
                for each, outputs, first in zip(taps, part, corner, strict=True)
            ]
            out[part] = _argmax(piece, local)
        done += math.prod(side.stop - side.start for side in region)
        del piece, scores  # before the next block is made
    assert done == out.size, (done, out.shape)


class Seams:
    """What blocks leave to later ones: their last plane along each axis whose outputs take two voxels.

    In two dimensions, of blocks that advance along rows: ``a`` is kept until the block below comes, ``b`` until the
    next one does. The block below the second one needs the corner too, which is a part of ``a``.

        +-----+-----+
        |    b|     |
        |aaaaa|aaaaa|
        +-----+-----+

    Args:
        shape: spatial shape of all blocks together.
        order: the axes, the slowest first.
        needed: along which axes.
    """

    def __init__(self, shape: tuple[int, ...], order: tuple[int, ...], needed: tuple[bool, ...]) -> None:
        self._seams = [_Seam(axis, order[place + 1 :], shape) for place, axis in enumerate(order) if needed[axis]]

    def widened(self, box: Box, scores: NDArray[np.floating]) -> tuple[list[int], NDArray[np.floating]]:
        """Where a block begins, with the planes in front of it that it needs, and its scores with these."""
        corner = [side.start for side in box]
        for seam in self._seams:
            seam.advance(box)
            corner[seam.axis] -= int(corner[seam.axis] > 0)
        if corner != [side.start for side in box]:
            scores = self._with_planes(box, corner, scores)
        for seam in self._seams:
            if box[seam.axis].stop < seam.shape[seam.axis]:
                seam.keep(box, corner, scores)
        return corner, scores

    def _with_planes(self, box: Box, corner: list[int], scores: NDArray[np.floating]) -> NDArray[np.floating]:
        sizes = (side.stop - first for side, first in zip(box, corner, strict=True))
        wide = np.empty((len(scores), *sizes), scores.dtype)
        wide[(slice(None), *(slice(side.start - first, None) for side, first in zip(box, corner, strict=True)))] = (
            scores
        )
        for seam in self._seams:
            if corner[seam.axis] < box[seam.axis].start:
                wide[_at(seam.axis, slice(1))] = seam.plane(box, corner)
        return wide


class _Seam:
    """The planes of one axis: those of the layer before, which are read, and those of this one, which are written.

    Along faster axes they are as large as all blocks together, along slower ones as the block.
    """

    def __init__(self, axis: int, faster: tuple[int, ...], shape: tuple[int, ...]) -> None:
        self.axis, self.shape, self._faster, self._layer = axis, shape, faster, 0
        self._before: NDArray[np.floating] | None = None
        self._now: NDArray[np.floating] | None = None

    def advance(self, box: Box) -> None:
        """Note in which layer a block is."""
        if box[self.axis].start != self._layer:
            self._layer, self._before, self._now = box[self.axis].start, self._now, None

    def plane(self, box: Box, corner: list[int]) -> NDArray[np.floating]:
        """What lies in front of a block, with what its other planes need of it."""
        assert self._before is not None
        sides = (slice(first, side.stop) for first, side in zip(corner, box, strict=True))
        return self._before[self._place(sides)]

    def keep(self, box: Box, corner: list[int], scores: NDArray[np.floating]) -> None:
        """Keep the last plane of a block, whose scores begin at a corner."""
        if self._now is None:
            sizes = [self.shape[axis] if axis in self._faster else n for axis, n in enumerate(scores.shape[1:])]
            sizes[self.axis] = 1
            self._now = np.empty((len(scores), *sizes), scores.dtype)
        own = [
            slice(side.start - first, None) if axis in self._faster else slice(None)
            for axis, (side, first) in enumerate(zip(box, corner, strict=True))
        ]
        own[self.axis] = slice(-1, None)
        self._now[self._place(box)] = scores[(slice(None), *own)]

    def _place(self, sides: Iterable[slice]) -> tuple[slice, ...]:
        return (slice(None), *(side if axis in self._faster else slice(None) for axis, side in enumerate(sides)))


def _at(axis: int, side: slice) -> tuple[slice, ...]:
    """Of an array (classes, I, J, K), a part of one axis."""
    return (slice(None), *(side if each == axis else slice(None) for each in range(3)))


def _chunks(region: Sequence[slice]) -> Iterator[tuple[slice, ...]]:
    """A region in pieces along its first axis; none where it is empty."""
    rows, *others = region
    plane = math.prod(each.stop - each.start for each in others)
    if plane == 0:
        return
    step = max(1, CHUNK_VOXELS // plane)
    for start in range(rows.start, rows.stop, step):
        yield slice(start, min(start + step, rows.stop)), *others


def _argmax(scores: NDArray[np.floating], taps: Sequence[Sequence[Tap]]) -> NDArray[np.uint8]:
    """Class numbers of a chunk, for which only the box that the taps take from is looked at."""
    box = [slice(int(each[0].index[0]), int(each[-1].index[-1]) + 1) for each in taps]
    local = [[tap.from_voxel(side.start) for tap in each] for each, side in zip(taps, box, strict=True)]
    scores = scores[(slice(None), *box)]
    shape = tuple(len(each[0].index) for each in taps)
    result, highest = np.zeros(shape, np.uint8), np.full(shape, -np.inf, np.float32)
    for index in _contenders(scores):
        score = interpolate(scores[index], local)
        np.copyto(result, index, where=score > highest, casting="unsafe")
        np.maximum(highest, score, out=highest)
    return result


def _contenders(scores: NDArray[np.floating]) -> list[int]:
    """The classes that may win somewhere between the voxels of a box (classes, I, J, K).

    The winner is at least the mean of all classes, and an interpolated mean is at least its smallest value in the box;
    a class that is smaller everywhere wins nowhere. Of a hundred organs, a box has a few.
    """
    largest = scores.max((1, 2, 3)).astype(np.float64)
    needed = float(scores.mean(0, dtype=np.float64).min())
    slack = MARGIN * np.maximum(np.abs(largest), abs(needed))
    return np.flatnonzero(largest >= needed - slack).tolist()


def interpolate(volume: NDArray[np.floating], taps: Sequence[Sequence[Tap]]) -> NDArray[np.float32]:
    """Values of a volume (I, J, K) at the outputs of the taps of its axes."""
    terms = _terms(volume.astype(np.float32, copy=False), taps, axis=0)
    total = next(terms)
    for term in terms:
        total += term
    return total.astype(np.float32, copy=False)


def _terms(array: NDArray, taps: Sequence[Sequence[Tap]], *, axis: int) -> Iterator[NDArray]:
    """The weighted corners around each output: in C order, multiplied along the first axis first."""
    if axis == len(taps):
        yield array
        return
    for tap in taps[axis]:
        yield from _terms(tap.apply(array, axis), taps, axis=axis + 1)
