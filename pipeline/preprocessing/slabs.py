"""The likeliest class at each voxel of another grid, from scores that come in slabs along one axis.

What is interpolated at an output plane needs its two neighbouring planes of the input and no others, so that of a slab
only the last plane is kept until the next one comes. Six planes in two slabs, made five:

    input   |  0  |  1  |  2  ||  3  |  4  |  5  |
    output  |   0  |   1  |   2   |   3  |   4  |        2 lies between planes 2 and 3, where the slabs meet

Along each axis an output voxel takes one input voxel or two, its taps. Sums and products are those of
`scipy.ndimage.zoom`, in its order and in double precision: however the slabs are cut, the result is that of
`resample.resample_image` to the bit.
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


def argmax_slabs(
    slabs: Iterable[NDArray[np.floating]],
    out: NDArray[np.uint8],
    *,
    shape: tuple[int, ...],
    axis: int,
    coarse: int | None,
) -> None:
    """Write the class with the largest score at each voxel; of equal scores, the first class.

    Args:
        slabs: scores (classes, I, J, K), which follow each other along the axis; not kept.
        out: class numbers (I, J, K), of the wanted shape, written to slab by slab.
        shape: spatial shape of all slabs together.
        axis: spatial axis along which they follow each other.
        coarse: axis along which the nearest slice is taken, as in `resample.resample_image`.
    """
    sizes = zip(shape, out.shape, strict=True)
    taps = [find_taps(n, m, nearest=each == coarse) for each, (n, m) in enumerate(sizes)]
    furthest = taps[axis][-1].index
    done = 0
    for first, piece in _pieces(slabs, 1 + axis, with_seams=len(taps[axis]) > 1):
        stop = int(np.searchsorted(furthest, first + piece.shape[1 + axis]))  # these need no plane behind the piece
        region = [slice(done, stop) if each == axis else slice(0, m) for each, m in enumerate(out.shape)]
        for part in _chunks(region):
            local = [[tap.cut(outputs) for tap in each] for each, outputs in zip(taps, part, strict=True)]
            local[axis] = [tap.from_voxel(first) for tap in local[axis]]
            out[part] = _argmax(piece, local)
        done = stop
        del piece  # before the next slab is made, so that there are never two
    assert done == out.shape[axis], (done, out.shape)


def _pieces(
    slabs: Iterable[NDArray[np.floating]], axis: int, *, with_seams: bool
) -> Iterator[tuple[int, NDArray[np.floating]]]:
    """Each slab with the number of its first plane, and before it the two planes that meet where it begins."""
    first, before = 0, None
    for slab in slabs:
        if before is not None:
            yield first - 1, np.concatenate([before, slab.take([0], axis)], axis)
        yield first, slab
        first += slab.shape[axis]
        before = slab.take([-1], axis) if with_seams else None
        del slab


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
