"""Predicted Dice from what is known of a mask, on masks whose Dice follows from it."""

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.estimate import EstimateConfig
from pipeline.errors import DatasetError
from pipeline.quality.conformal import Conformal, patients_for
from pipeline.quality.masks import (
    FEATURES,
    LabelEstimate,
    MaskEstimates,
    MaskEvidence,
    MaskExample,
)

SETTINGS = EstimateConfig()
CASES, VERSIONS = 30, 5


def evidence(quality: NDArray[np.float64], rng: np.random.Generator, *, mirrored: bool = True) -> MaskEvidence:
    """Of a mask of two labels, whose probabilities, shape and agreement are the better the better it is."""
    noisy = np.clip(quality + rng.normal(0, 0.02, 2), 0.02, 0.99)
    voxels = np.full(2, 1000.0)
    return MaskEvidence(
        voxels=voxels,
        inside=noisy * voxels,
        total=voxels.copy(),
        spread=(1 - noisy) * noisy * voxels,
        stray=np.zeros(2),
        size=voxels * rng.uniform(0.8, 1.2),
        shape=np.clip(quality + rng.normal(0, 0.1, 2), 0.01, 1),
        scan=float(2 * (1 - quality.mean())),
        agreement=np.clip(quality + rng.normal(0, 0.05, 2), 0.01, 1) if mirrored else None,
    )


def examples(seed: int, cases: int = CASES, *, mirrored: bool = True) -> list[MaskExample]:
    rng, found = np.random.default_rng(seed), []
    for case in range(cases):
        for version in range(VERSIONS):
            quality = rng.uniform(0.85, 0.95, 2) if version == 0 else rng.uniform(0.1, 0.95, 2)
            dice = np.clip(quality + rng.normal(0, 0.03, 2), 0, 1)
            known = evidence(quality, rng, mirrored=mirrored)
            found.append(MaskExample(known, dice, f"patient {case}", "noise" if version else ""))
    return found


@pytest.fixture(scope="module")
def sizes() -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(800, 1200, (50, 2))


@pytest.fixture(scope="module")
def fitted(sizes: NDArray[np.float64]) -> MaskEstimates:
    return MaskEstimates.fit(examples(0), sizes, SETTINGS)


def test_new_masks_have_about_the_dice_that_is_predicted_and_intervals_hold_it(fitted: MaskEstimates) -> None:
    errors, inside, off = [], [], []
    for example in examples(1, 100):
        for found, dice in zip(fitted.predict(example.evidence), example.dice, strict=True):
            assert found is not None
            assert found.low <= found.dice <= found.high
            errors.append(abs(found.dice - dice))
            off.append(abs(dice - 0.6))
            inside.append(found.low <= dice <= found.high)
    assert np.mean(errors) < 0.3 * np.mean(off)
    assert 0.85 <= np.mean(inside) <= 0.97


def test_masks_of_scans_as_they_are_lie_above_what_is_usual_and_bad_ones_below(fitted: MaskEstimates) -> None:
    rng = np.random.default_rng(2)
    for quality, is_usual in ((0.93, True), (0.5, False)):
        for _ in range(20):
            for found in fitted.predict(evidence(np.full(2, quality), rng)):
                assert found is not None
                assert (found.dice >= found.usual) == is_usual


def test_half_of_what_a_case_counts_for_the_interval_is_of_its_undamaged_mask() -> None:
    rng, is_damaged = np.random.default_rng(0), np.arange(40) % 4 > 0  # ten cases, each with three damaged versions
    patients = np.array([f"case {number}" for number in np.arange(40) // 4])
    features, dice = rng.normal(size=(40, 7)), rng.random(40)
    fit = LabelEstimate.fit(features, dice, patients=patients, is_damaged=is_damaged, alarm_rate=0.2)
    np.testing.assert_allclose(fit.regression.conformal.weights, np.where(is_damaged, 1 / 6, 1 / 2) / 11)


def test_a_floor_is_what_is_usual_at_least(sizes: NDArray[np.float64]) -> None:
    strict = MaskEstimates.fit(examples(0), sizes, EstimateConfig(review_below=0.99))
    assert {strict.labels[label].usual for label in (0, 1)} == {0.99}


def test_without_mirroring_there_is_one_feature_less(sizes: NDArray[np.float64]) -> None:
    example = examples(0)[0].evidence
    assert example.rows(np.ones(2)).shape == (2, len(FEATURES))
    assert example.alone().rows(np.ones(2)).shape == (2, len(FEATURES) - 1)
    single = MaskEstimates.fit(examples(0, mirrored=False), sizes, SETTINGS)
    found = single.predict(example.alone())
    assert all(each is not None and 0 <= each.dice <= 1 for each in found)


def test_an_empty_mask_has_a_dice_of_0_where_every_training_mask_had_the_label(sizes: NDArray[np.float64]) -> None:
    sometimes = sizes.copy()
    sometimes[3, 1] = 0
    fitted = MaskEstimates.fit(examples(0), sometimes, SETTINGS)
    nothing, none = np.zeros(2), np.ones(2)
    empty = MaskEvidence(nothing, nothing, nothing, nothing, nothing, nothing, none, 0.0, none)
    always, maybe = fitted.predict(empty)
    assert always is not None
    assert (always.dice, always.low, always.high) == (0, 0, 0)
    assert maybe is None


def test_a_label_that_few_patients_have_is_not_predicted(sizes: NDArray[np.float64]) -> None:
    few = examples(0)
    for example in few[4 * VERSIONS :]:
        example.dice[1] = np.nan
    first, second = MaskEstimates.fit(few, sizes, SETTINGS).predict(few[0].evidence)
    assert first is not None
    assert second is None


def test_labels_that_no_patient_has_are_refused(sizes: NDArray[np.float64]) -> None:
    none = [MaskExample(example.evidence, np.full(2, np.nan), example.patient, "") for example in examples(0)]
    with pytest.raises(DatasetError, match="that have a structure; found 0"):
        MaskEstimates.fit(none, sizes, SETTINGS)


@pytest.mark.parametrize(("cases", "rate"), [(30, 1 / 31), (120, 0.01)])
def test_the_rate_of_alarms_is_what_so_many_cases_are_good_for(
    sizes: NDArray[np.float64], cases: int, rate: float
) -> None:
    fitted = MaskEstimates.fit(examples(0, cases), sizes, SETTINGS)
    assert [each.alarm_rate for each in fitted.labels.values()] == pytest.approx([rate, rate])
    clean = [example for example in examples(5, 400) if not example.damage]
    low = [any(each is not None and each.dice < each.usual for each in fitted.predict(one.evidence)) for one in clean]
    assert np.mean(low) < 2.5 * 2 * rate


@pytest.mark.parametrize("coverage", [0.85, 0.9, 0.95, 0.97])
def test_so_many_patients_give_an_interval_and_one_fewer_does_not(coverage: float) -> None:
    for patients, has_one in [(patients_for(1 - coverage), True), (patients_for(1 - coverage) - 1, False)]:
        fitted = Conformal.fit(np.full(patients, 0.8), np.linspace(0.7, 0.9, patients))
        low, high = fitted.interval(np.array([[0.8]]), 1 - coverage)[0]
        assert ((low, high) != (0, 1)) is has_one


def test_too_few_patients_are_refused(sizes: NDArray[np.float64]) -> None:
    with pytest.raises(DatasetError, match="at least 5 patients"):
        MaskEstimates.fit(examples(0, 4), sizes, SETTINGS)


def test_the_arrays_give_it_back(fitted: MaskEstimates) -> None:
    again = MaskEstimates.from_arrays(fitted.to_arrays())
    for example in examples(3, 3):
        assert again.predict(example.evidence) == fitted.predict(example.evidence)
