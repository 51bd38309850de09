"""Beside it: `resample_image`, which is scipy's zoom, of all classes and the whole volume at once."""

import itertools
import tracemalloc
from collections.abc import Iterator
from unittest.mock import Mock

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.preprocessing import slabs
from pipeline.preprocessing.resample import resample_image
from pipeline.preprocessing.slabs import argmax_slabs, find_taps, interpolate

Shape = tuple[int, ...]
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


def argmax(pieces: list[NDArray], shape: Shape, target: Shape, *, axis: int, coarse: int | None) -> NDArray[np.uint8]:
    out = np.full(target, 77, np.uint8)
    argmax_slabs(pieces, out, shape=shape, axis=axis, coarse=coarse)
    return out


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
def test_the_argmax_is_that_of_the_whole_volume_however_the_slabs_are_cut(
    shape: Shape, target: Shape, coarse: int | None, axis: int
) -> None:
    scores = probabilities(4, *shape)
    expected = resample_image(scores, target, order=1, coarse=coarse).argmax(0)
    for first, step in ((100, 1), (1, 1), (2, 3), (3, 4)):
        pieces = np.split(scores, range(first, shape[axis], step), 1 + axis)
        assert np.array_equal(argmax(pieces, shape, target, axis=axis, coarse=coarse), expected)


def test_the_argmax_is_that_of_the_whole_volume_for_sizes_drawn_at_random() -> None:
    rng = np.random.default_rng(0)
    for seed in range(150):
        shape, target = (tuple(map(int, rng.integers(1, high, 3))) for high in (20, 32))
        axis, coarse = int(rng.integers(3)), (None, 0, 1, 2)[rng.integers(4)]
        scores = probabilities(5, *shape, seed=seed)
        pieces = np.split(scores, np.unique(rng.integers(1, shape[axis] + 1, 4)), 1 + axis)
        expected = resample_image(scores, target, order=1, coarse=coarse).argmax(0)
        found = argmax([piece for piece in pieces if piece.size], shape, target, axis=axis, coarse=coarse)
        assert np.array_equal(found, expected), (shape, target, axis, coarse)


@pytest.mark.parametrize("target", [(6, 7, 8), (9, 5, 11), (12, 14, 16)])
def test_of_classes_with_equal_scores_the_first_wins(target: Shape) -> None:
    half = probabilities(3, 6, 7, 8)
    scores = np.concatenate([half, half])
    assert argmax([scores], (6, 7, 8), target, axis=0, coarse=None).max() == 2


def test_scores_below_zero_are_compared_as_others() -> None:
    scores = np.stack([np.full((2, 2, 2), -3.0), np.full((2, 2, 2), -2.0)])
    assert (argmax([scores], (2, 2, 2), (3, 3, 3), axis=0, coarse=None) == 1).all()
    assert (argmax([scores], (2, 2, 2), (2, 2, 2), axis=0, coarse=None) == 1).all()


def test_logits_of_any_sign_are_compared_as_others() -> None:
    scores = np.random.default_rng(0).normal(0, 20, (6, 9, 8, 7)).astype(np.float32)
    expected = resample_image(scores, (12, 9, 11), order=1, coarse=None).argmax(0)
    assert np.array_equal(argmax([scores], (9, 8, 7), (12, 9, 11), axis=0, coarse=None), expected)


def test_classes_that_cannot_win_are_not_interpolated(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Mock(wraps=interpolate)
    monkeypatch.setattr(slabs, "interpolate", counted)
    scores = np.full((50, 8, 8, 8), 0.001, np.float32)
    scores[[7, 30]] = probabilities(2, 8, 8, 8) * 0.95
    found = argmax([scores], (8, 8, 8), (11, 11, 11), axis=0, coarse=None)
    assert np.array_equal(found, resample_image(scores, (11, 11, 11), order=1, coarse=None).argmax(0))
    assert counted.call_count == 2  # the mean of all is about 0.02


def test_the_last_class_that_a_byte_has_a_number_for_is_kept() -> None:
    scores = np.zeros((255, 4, 4, 4), np.float32)
    scores[254] = 1
    assert (argmax([scores], (4, 4, 4), (5, 5, 5), axis=0, coarse=None) == 254).all()


@pytest.mark.parametrize("axis", [0, 2])
def test_memory_is_that_of_a_slab_whatever_the_length_of_the_volume(axis: int) -> None:
    def made(planes: int) -> Iterator[NDArray[np.float32]]:
        shape = (30, planes, 60, 60) if axis == 0 else (30, 60, 60, planes)
        for _ in range(0, 240, planes):
            yield np.random.default_rng(0).random(shape, dtype=np.float32)

    shape, target = ((240, 60, 60), (300, 80, 80)) if axis == 0 else ((60, 60, 240), (80, 80, 300))
    out = np.empty(target, np.uint8)
    tracemalloc.start()
    argmax_slabs(made(8), out, shape=shape, axis=axis, coarse=None)
    peak_mb = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    # 30 classes of 60 x 60 voxels in 4 bytes: 3.5 MB a slab of 8 planes, 104 MB for all 240
    assert peak_mb < 20
