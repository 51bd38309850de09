import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.special import expit

from pipeline.errors import DatasetError
from pipeline.quality.estimate import DiceEstimate
from pipeline.quality.regression import DiceRegression

VERSIONS = 3


def damaged(cases: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Features, Dice and case of masks in three versions each, whose errors have a part in common."""
    generator = np.random.default_rng(seed)
    groups = np.repeat(np.arange(cases), VERSIONS)
    features = generator.normal(size=(len(groups), 4)) + generator.normal(size=(cases, 4))[groups]
    noise = 0.05 * generator.normal(size=cases)[groups] + 0.03 * generator.normal(size=len(groups))
    return features, np.clip(expit(1 - features[:, 0]) + noise, 0, 1), groups


@pytest.fixture(scope="module")
def estimate() -> DiceEstimate:
    features, dice, groups = damaged(24, seed=0)
    return DiceEstimate.fit(features, dice, groups=groups, signs=np.array([-1, 0, 0, 0]))


def test_the_prediction_is_that_of_the_regression_on_all_cases(estimate: DiceEstimate) -> None:
    features, dice, groups = damaged(24, seed=0)
    whole = DiceRegression.fit(features, dice, groups=groups, signs=np.array([-1, 0, 0, 0]))
    np.testing.assert_array_equal(estimate.predicted(features), whole.predicted(features))


def test_a_case_and_its_versions_are_predicted_by_what_saw_none_of_them(estimate: DiceEstimate) -> None:
    features, dice, groups = damaged(24, seed=0)
    fold_of = estimate.conformal.fold_of
    assert (fold_of.reshape(24, VERSIONS) == fold_of[::VERSIONS, None]).all()
    without = fold_of != fold_of[0]
    fitted = DiceRegression.fit(features[without], dice[without], groups=groups[without], signs=np.array([-1, 0, 0, 0]))
    np.testing.assert_array_equal(estimate.out_of_fold[:VERSIONS], fitted.predicted(features[:VERSIONS]))


def test_the_intervals_hold_the_dice_of_new_cases_and_the_prediction(estimate: DiceEstimate) -> None:
    features, dice, _ = damaged(300, seed=1)
    low, high = estimate.interval(features, 0.2).T
    assert np.mean((low <= dice) & (dice <= high)) == pytest.approx(0.8, abs=0.08)
    assert (low <= estimate.predicted(features)).all()
    assert (estimate.predicted(features) <= high).all()
    assert (high - low).mean() < 0.35


def test_a_file_gives_back_the_estimate(estimate: DiceEstimate) -> None:
    again = DiceEstimate.from_arrays(load(save(estimate.to_arrays())))
    features, _, _ = damaged(3, seed=1)
    assert len(again.folds) == 5
    np.testing.assert_array_equal(again.predicted(features), estimate.predicted(features))
    np.testing.assert_array_equal(again.interval(features, 0.1), estimate.interval(features, 0.1))


def test_a_single_case_is_refused() -> None:
    features, dice, _ = damaged(4, seed=0)
    with pytest.raises(DatasetError, match="at least two groups"):
        DiceEstimate.fit(features, dice, groups=np.zeros(len(dice)))
