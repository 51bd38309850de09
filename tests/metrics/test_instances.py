from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.metrics import adapted_rand_error

from pipeline.metrics.instances import InstanceMatches, RandPairs, VariationOfInformation, instances_of

Numbers = NDArray[np.int32]


def row(*numbers: int) -> Numbers:
    return np.array([numbers], np.int32)


TWO_CELLS = row(1, 1, 0, 2, 2)
NOTHING = row(0, 0, 0, 0, 0)


def random_numbers(seed: int, shape: tuple[int, ...]) -> tuple[Numbers, Numbers]:
    predicted, reference = np.random.default_rng(seed).integers(0, 4, size=(2, *shape), dtype=np.int32)
    return predicted, reference


# --- Connected parts


def test_pixels_that_touch_by_a_corner_are_two_instances() -> None:
    assert instances_of(np.array([[1, 0], [0, 1]], bool), per_slice=False).tolist() == [[1, 0], [0, 2]]


def test_an_instance_of_a_volume_reaches_through_slices_and_one_of_a_stack_does_not() -> None:
    mask = np.zeros((1, 3, 2), bool)
    mask[0, 0], mask[0, 2, 1] = True, True  # both slices have the first pixel, and the second one has the last pixel
    volume, stack = (instances_of(mask, per_slice=per_slice) for per_slice in (False, True))
    assert volume[0].tolist() == [[1, 1], [0, 0], [0, 2]]
    assert stack[0].tolist() == [[1, 2], [0, 0], [0, 3]]


@pytest.mark.parametrize("seed", range(3))
def test_a_stack_has_the_instances_of_its_images(seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 8, 4)) < 0.5
    stack = instances_of(mask, per_slice=True)
    for index in range(4):
        alone = instances_of(mask[:, :, index], per_slice=False)
        # the same parts under other numbers: one number for each of the other
        pairs = set(zip(stack[:, :, index].ravel().tolist(), alone.ravel().tolist(), strict=True))
        assert len(pairs) == len(np.unique(alone)) == len(np.unique(stack[:, :, index]))
    assert stack.max() == sum(instances_of(mask[:, :, index], per_slice=False).max() for index in range(4))


def test_an_image_is_a_volume_of_one_slice() -> None:
    mask = np.random.default_rng(0).random((9, 8, 1)) < 0.5
    np.testing.assert_array_equal(instances_of(mask, per_slice=True), instances_of(mask, per_slice=False))
    np.testing.assert_array_equal(
        instances_of(mask, per_slice=True)[:, :, 0], instances_of(mask[:, :, 0], per_slice=True)
    )


# --- Rand


def pairs_by_hand(predicted: Numbers, reference: Numbers) -> RandPairs:
    """Every two voxels of the reference's foreground, one after the other; a 0 of the prediction is in no pair."""
    inside = reference > 0
    voxels = list(zip(predicted[inside].tolist(), reference[inside].tolist(), strict=True))
    together = [(a[0] == b[0] != 0, a[1] == b[1]) for a, b in combinations(voxels, 2)]
    return RandPairs(
        common=sum(ours and theirs for ours, theirs in together),
        predicted=sum(ours for ours, _ in together),
        reference=sum(theirs for _, theirs in together),
    )


def test_two_cells_that_are_merged_have_all_pairs_and_too_many() -> None:
    # four pixels of the foreground: 6 pairs in the one predicted cell, 2 of them right, which are all that there are
    pairs = RandPairs.of(row(1, 1, 1, 1, 1), TWO_CELLS)
    assert pairs == RandPairs(common=2, predicted=6, reference=2)
    assert (pairs.precision, pairs.recall, pairs.f) == pytest.approx((2 / 6, 1, 4 / 8))


def test_a_cell_that_is_split_has_some_pairs_and_no_wrong_ones() -> None:
    # four pixels in one cell: 6 pairs; cut into two halves, 2 of them are left
    pairs = RandPairs.of(row(1, 1, 2, 2), row(1, 1, 1, 1))
    assert pairs == RandPairs(common=2, predicted=2, reference=6)
    assert (pairs.precision, pairs.recall, pairs.f) == pytest.approx((1, 2 / 6, 4 / 8))


def test_what_is_predicted_outside_the_reference_costs_nothing() -> None:
    assert RandPairs.of(row(1, 1, 0, 2, 2), row(1, 1, 0, 0, 0)) == RandPairs(common=1, predicted=1, reference=1)


def test_pixels_that_are_missed_are_in_no_pair_of_the_prediction() -> None:
    # of two cells of three pixels the last one of each is missed; as one instance, the two would be a wrong pair
    pairs = RandPairs.of(row(1, 1, 0, 0, 2, 2), row(1, 1, 1, 2, 2, 2))
    assert pairs == RandPairs(common=2, predicted=2, reference=6)


@pytest.mark.parametrize("shape", [(3, 4), (4, 1), (2, 3, 2)])
@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_that_are_counted_one_by_one(seed: int, shape: tuple[int, ...]) -> None:
    predicted, reference = random_numbers(seed, shape)
    assert RandPairs.of(predicted, reference) == pairs_by_hand(predicted, reference)


@pytest.mark.parametrize("seed", range(5))
def test_the_f_score_is_that_of_scikit_image_where_nothing_is_missed(seed: int) -> None:
    predicted, reference = random_numbers(seed, (7, 6))
    predicted += 1
    error, first, second = adapted_rand_error(reference, predicted)
    pairs = RandPairs.of(predicted, reference)
    assert pairs.f == pytest.approx(1 - error)
    # in which order it gives precision and recall depends on its version
    assert sorted([pairs.precision or 0, pairs.recall or 0]) == pytest.approx(sorted([first, second]))


def test_an_empty_prediction_has_no_precision_and_an_f_of_0() -> None:
    pairs = RandPairs.of(NOTHING, TWO_CELLS)
    assert (pairs.precision, pairs.recall, pairs.f) == (None, 0, 0)


@pytest.mark.parametrize("predicted", [TWO_CELLS, NOTHING])
def test_an_empty_reference_has_no_pairs_to_be_found(predicted: Numbers) -> None:
    pairs = RandPairs.of(predicted, NOTHING)
    assert (pairs.precision, pairs.recall, pairs.f) == (None, None, None)


def test_instances_of_one_pixel_have_no_pairs() -> None:
    pairs = RandPairs.of(row(1, 0, 2), row(1, 0, 2))
    assert (pairs.precision, pairs.recall, pairs.f) == (None, None, None)


# --- Variation of information


def entropies_by_hand(predicted: Numbers, reference: Numbers) -> tuple[float, float]:
    """H(prediction | reference) and H(reference | prediction) in bits, voxel by voxel: -log2 of p(own | other's)."""
    inside = reference > 0
    theirs = reference[inside].tolist()
    ours = [number or f"missed {place}" for place, number in enumerate(predicted[inside].tolist())]
    joint = list(zip(ours, theirs, strict=True))
    split = [-np.log2(joint.count(pair) / theirs.count(pair[1])) for pair in joint]
    merge = [-np.log2(joint.count(pair) / ours.count(pair[0])) for pair in joint]
    return float(np.mean(split)), float(np.mean(merge))


def test_equal_divisions_have_no_variation_under_whatever_numbers() -> None:
    assert VariationOfInformation.of(row(7, 7, 0, 3, 3), TWO_CELLS) == VariationOfInformation(split=0, merge=0)


def test_a_cell_cut_into_halves_is_a_bit_of_split() -> None:
    assert VariationOfInformation.of(row(1, 1, 2, 2), row(1, 1, 1, 1)) == VariationOfInformation(split=1, merge=0)


def test_two_merged_cells_of_one_size_are_a_bit_of_merge() -> None:
    assert VariationOfInformation.of(row(1, 1, 1, 1, 1), TWO_CELLS) == VariationOfInformation(split=0, merge=1)


def test_a_cell_of_four_pixels_in_quarters_is_two_bits_also_where_they_are_missed() -> None:
    assert VariationOfInformation.of(row(1, 2, 3, 4), row(1, 1, 1, 1)) == VariationOfInformation(split=2, merge=0)
    # all but one pixel of a cell are missed: each is an instance of its own
    assert VariationOfInformation.of(row(1, 0, 0, 0), row(1, 1, 1, 1)) == VariationOfInformation(split=2, merge=0)


@pytest.mark.parametrize("seed", range(5))
def test_the_variation_is_that_of_the_definition(seed: int) -> None:
    predicted, reference = random_numbers(seed, (3, 4, 2))
    found = VariationOfInformation.of(predicted, reference)
    assert found is not None
    assert (found.split, found.merge) == pytest.approx(entropies_by_hand(predicted, reference))


@pytest.mark.parametrize("masks", [(TWO_CELLS, NOTHING), (NOTHING, TWO_CELLS), (NOTHING, NOTHING)])
def test_without_instances_there_is_no_variation(masks: tuple[Numbers, Numbers]) -> None:
    assert VariationOfInformation.of(*masks) is None


# --- Matched instances


def test_an_instance_is_found_where_more_than_half_is_in_common() -> None:
    # the first cell: 2 pixels in common of 3, IoU 2/3; the second: 1 of 2, IoU 1/2, which is not enough
    matches = InstanceMatches.of(row(1, 1, 0, 0, 2, 0), row(1, 1, 1, 0, 2, 2))
    assert matches == InstanceMatches(matched=1, missed=1, extra=1)
    assert matches.f1 == pytest.approx(2 * 1 / (2 * 1 + 1 + 1))


def test_a_cell_cut_into_halves_is_missed_and_two_are_too_many() -> None:
    assert InstanceMatches.of(row(1, 1, 2, 2), row(1, 1, 1, 1)) == InstanceMatches(matched=0, missed=1, extra=2)


def test_two_cells_that_are_merged_are_both_missed() -> None:
    assert InstanceMatches.of(row(1, 1, 1, 1, 1), TWO_CELLS) == InstanceMatches(matched=0, missed=2, extra=1)


def test_numbers_may_have_gaps_and_any_order() -> None:
    assert InstanceMatches.of(row(3, 3, 0, 9, 9), row(8, 8, 0, 5, 5)) == InstanceMatches(matched=2, missed=0, extra=0)


@pytest.mark.parametrize("seed", range(5))
def test_matches_are_those_of_every_pair_of_instances(seed: int) -> None:
    generator = np.random.default_rng(seed)
    reference = instances_of(generator.random((12, 12, 3)) < 0.4, per_slice=True)
    predicted = instances_of((reference > 0) ^ (generator.random(reference.shape) < 0.1), per_slice=True)
    ours, theirs = ([array == number for number in range(1, array.max() + 1)] for array in (predicted, reference))
    found = sum((p & r).sum() / (p | r).sum() > 0.5 for p in ours for r in theirs)
    expected = InstanceMatches(matched=found, missed=len(theirs) - found, extra=len(ours) - found)
    assert found > 0
    assert InstanceMatches.of(predicted, reference) == expected


@pytest.mark.parametrize(
    ("masks", "counts", "f1"),
    [
        ((TWO_CELLS, TWO_CELLS), (2, 0, 0), 1),
        ((NOTHING, TWO_CELLS), (0, 2, 0), 0),
        ((TWO_CELLS, NOTHING), (0, 0, 2), 0),
        ((NOTHING, NOTHING), (0, 0, 0), None),
    ],
)
def test_f1_is_0_where_one_has_no_instance_and_undefined_where_neither_has(
    masks: tuple[Numbers, Numbers], counts: tuple[int, int, int], f1: float | None
) -> None:
    matches = InstanceMatches.of(*masks)
    assert (matches.matched, matches.missed, matches.extra) == counts
    assert matches.f1 == f1
