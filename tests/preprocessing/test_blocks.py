"""Beside it: `resample_image`, which is scipy's zoom, of all classes and the whole volume at once."""

import itertools
import tracemalloc
from collections.abc import Iterator
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.preprocessing import blocks
from pipeline.preprocessing.blocks import Block, argmax_blocks, find_taps, interpolate
from pipeline.preprocessing.resample import resample_image

Shape = tuple[int, ...]
Cuts = tuple[tuple[int, ...], ...]
NO_CUTS: Cuts = ((), (), ())
PAIRS: list[tuple[Shape, Shape]] = [
    ((9, 8, 7), (9, 8, 7)),
    ((9, 8, 7), (13, 12, 11)),
    ((9, 8, 7), (18, 16, 14)),  # doubled
    ((9, 8, 7), (4, 5, 3)),
    ((8, 8, 8), (4, 4, 4)),  # halved: each output lies in the middle between two planes
    ((9, 8, 7), (13, 8, 3)),
    ((9, 8, 7), (9, 5, 20)),
    ((1, 8, 7), (5, 1, 7)),
    ((15, 1, 2), (2, 3, 1)),
    ((5, 6, 7), (60, 1, 2)),
]


def probabilities(classes: int, *shape: int, seed: int = 0) -> NDArray[np.float32]:
    scores = np.random.default_rng(seed).random((classes, *shape), dtype=np.float32) ** 4
    return scores / scores.sum(0)


def argmax(
    scores: NDArray, target: Shape, *, cuts: Cuts = NO_CUTS, order: Shape = (0, 1, 2), coarse: int | None = None
) -> NDArray[np.uint8]:
    """Of scores (classes, I, J, K), cut into blocks at some places of each axis."""
    out = np.full(target, 77, np.uint8)
    argmax_blocks(pieces(scores, cuts, order), out, shape=scores.shape[1:], order=order, coarse=coarse)
    return out


def pieces(scores: NDArray, cuts: Cuts, order: Shape) -> Iterator[Block]:
    sides = [[*itertools.pairwise([0, *own, n])] for own, n in zip(cuts, scores.shape[1:], strict=True)]
    for place in itertools.product(*(sides[axis] for axis in order)):
        box = tuple(slice(*place[order.index(axis)]) for axis in range(3))
        yield box, scores[(slice(None), *box)].copy()


def test_each_output_takes_its_two_neighbours_and_the_ends_are_held() -> None:
    # output j of 4 lies at (j + 1/2) 3/4 - 1/2 = -0.125, 0.625, 1.375, 2.125 of the voxels 0 to 2
    first, second = find_taps(3, 4, nearest=False)
    assert first.index.tolist() == [0, 0, 1, 2]
    assert second.index.tolist() == [0, 1, 2, 2]
    assert first.weight is not None
    assert second.weight is not None
    assert first.weight.tolist() == [0.125, 0.375, 0.625, 0.875]
    assert second.weight.tolist() == [0.875, 0.625, 0.375, 0.125]


def test_the_nearest_of_two_equally_near_is_the_later_one() -> None:
    (tap,) = find_taps(4, 2, nearest=True)  # at 0.5 and 2.5
    assert (tap.index.tolist(), tap.weight) == ([1, 3], None)


def test_an_axis_that_keeps_its_size_is_copied() -> None:
    (tap,) = find_taps(3, 3, nearest=False)
    assert (tap.index.tolist(), tap.weight) == ([0, 1, 2], None)


@pytest.mark.parametrize("nearest", [False, True])
def test_taps_are_scipy_s_to_the_bit_for_every_pair_of_sizes(nearest: bool) -> None:
    for size, target in itertools.product(range(1, 40), repeat=2):
        line = np.random.default_rng(size).random((1, size, 1, 1), dtype=np.float32)
        expected = resample_image(line, (target, 1, 1), order=0 if nearest else 1, coarse=None)[0]
        taps = [find_taps(size, target, nearest=nearest), *[find_taps(1, 1, nearest=False)] * 2]
        assert np.array_equal(interpolate(line[0], taps), expected), (size, target)


@pytest.mark.parametrize("coarse", [None, 0, 1, 2])
@pytest.mark.parametrize(("shape", "target"), PAIRS)
def test_interpolated_numbers_are_scipy_s_to_the_bit(shape: Shape, target: Shape, coarse: int | None) -> None:
    scores = probabilities(4, *shape)
    taps = [find_taps(n, m, nearest=axis == coarse) for axis, (n, m) in enumerate(zip(shape, target, strict=True))]
    expected = resample_image(scores, target, order=1, coarse=coarse)
    assert np.array_equal(np.stack([interpolate(score, taps) for score in scores]), expected)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("coarse", [None, 0, 1, 2])
@pytest.mark.parametrize(("shape", "target"), PAIRS)
def test_the_argmax_is_that_of_the_whole_volume_however_it_is_cut_into_slabs(
    shape: Shape, target: Shape, coarse: int | None, axis: int
) -> None:
    scores = probabilities(4, *shape)
    expected = resample_image(scores, target, order=1, coarse=coarse).argmax(0)
    for first, step in ((100, 1), (1, 1), (2, 3), (3, 4)):
        cuts = tuple(tuple(range(first, n, step)) if each == axis else () for each, n in enumerate(shape))
        order = (axis, *(each for each in range(3) if each != axis))
        assert np.array_equal(argmax(scores, target, cuts=cuts, order=order, coarse=coarse), expected)


def test_the_argmax_is_that_of_the_whole_volume_for_sizes_cuts_and_orders_drawn_at_random() -> None:
    rng = np.random.default_rng(0)
    for seed in range(250):
        shape, target = (tuple(map(int, rng.integers(1, high, 3))) for high in (20, 32))
        order, coarse = tuple(rng.permutation(3).tolist()), (None, 0, 1, 2)[rng.integers(4)]
        cuts = tuple(tuple(np.unique(rng.integers(1, n, rng.integers(0, 5))).tolist()) if n > 1 else () for n in shape)
        scores = probabilities(5, *shape, seed=seed)
        expected = resample_image(scores, target, order=1, coarse=coarse).argmax(0)
        found = argmax(scores, target, cuts=cuts, order=order, coarse=coarse)
        assert np.array_equal(found, expected), (shape, target, order, coarse, cuts)


@pytest.mark.parametrize("target", [(6, 7, 8), (9, 5, 11), (12, 14, 16)])
def test_of_classes_with_equal_scores_the_first_wins(target: Shape) -> None:
    half = probabilities(3, 6, 7, 8)
    scores = np.concatenate([half, half])
    assert argmax(scores, target).max() == 2


def test_scores_below_zero_are_compared_as_others() -> None:
    scores = np.stack([np.full((2, 2, 2), -3.0), np.full((2, 2, 2), -2.0)])
    assert (argmax(scores, (3, 3, 3)) == 1).all()
    assert (argmax(scores, (2, 2, 2)) == 1).all()


def test_logits_of_any_sign_are_compared_as_others() -> None:
    scores = np.random.default_rng(0).normal(0, 20, (6, 9, 8, 7)).astype(np.float32)
    expected = resample_image(scores, (12, 9, 11), order=1, coarse=None).argmax(0)
    assert np.array_equal(argmax(scores, (12, 9, 11)), expected)


def test_classes_that_cannot_win_are_not_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Mock(wraps=interpolate)
    monkeypatch.setattr(blocks, "interpolate", counted)
    scores = np.full((50, 8, 8, 8), 0.001, np.float32)
    scores[[7, 30]] = probabilities(2, 8, 8, 8) * 0.95
    found = argmax(scores, (11, 11, 11))
    assert np.array_equal(found, resample_image(scores, (11, 11, 11), order=1, coarse=None).argmax(0))
    assert counted.call_count == 2  # the mean of all is about 0.02


def test_the_last_class_that_a_byte_has_a_number_for_is_kept() -> None:
    scores = np.zeros((255, 4, 4, 4), np.float32)
    scores[254] = 1
    assert (argmax(scores, (5, 5, 5)) == 254).all()


@pytest.mark.parametrize("axis", [0, 2])
def test_memory_is_that_of_a_block_and_its_seams_whatever_the_length_of_the_volume(axis: int) -> None:
    order = (axis, *(each for each in range(3) if each != axis))
    shape, target = ((240, 60, 60), (300, 80, 80)) if axis == 0 else ((60, 60, 240), (80, 80, 300))

    def made() -> Iterator[Block]:
        for first, row in itertools.product(range(0, 240, 8), range(0, 60, 30)):
            sides = dict(zip(order, (slice(first, first + 8), slice(row, row + 30), slice(0, 60)), strict=True))
            box = tuple(sides[each] for each in range(3))
            yield box, np.random.default_rng(0).random((30, *(s.stop - s.start for s in box)), dtype=np.float32)

    out = np.empty(target, np.uint8)
    tracemalloc.start()
    argmax_blocks(made(), out, shape=shape, order=order, coarse=None)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    # 30 classes in 4 bytes: 1.7 MB a block of 8 x 30 x 60, 0.4 MB a layer of 60 x 60, 104 MB for all
    assert peak_mb < 12
