import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load, save
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.regression import DiceRegression, fit_logit

FREE = np.zeros(3, np.int64)


def masks(count: int, seed: int = 0, noise: float = 0.05) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Features and Dice: it falls with the first, rises with the second, and has nothing to do with the third."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 3)) * [0.1, 10.0, 1.0] + [0.5, 100.0, 0.0]
    line = 1.5 - 8 * (features[:, 0] - 0.5) + 0.05 * (features[:, 1] - 100)
    return features, np.clip(expit(line) + noise * generator.normal(size=count), 0, 1)


def fitted(features: NDArray, dice: NDArray, signs: NDArray | None = None) -> DiceRegression:
    return DiceRegression.fit(features, dice, groups=np.arange(len(dice)), signs=signs)


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_for_whole_shares_the_weights_are_those_of_sklearns_logistic_regression(penalty: float) -> None:
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(80, 3))
    shares = (generator.random(80) < expit(rows @ [1.0, -2.0, 0.0] + 0.5)).astype(float)
    reference = LogisticRegression(C=1 / (penalty * len(rows)), tol=1e-8).fit(rows, shares)
    expected = [*reference.intercept_, *reference.coef_[0]]
    np.testing.assert_allclose(fit_logit(rows, shares, penalty=penalty, signs=FREE), expected, atol=2e-3)


def test_shares_without_noise_give_the_weights_that_made_them() -> None:
    rows = np.random.default_rng(0).normal(size=(200, 3))
    shares = expit(rows @ [0.5, -1.0, 0.0] + 0.3)
    found = fit_logit(rows, shares, penalty=1e-6, signs=FREE)
    np.testing.assert_allclose(found, [0.3, 0.5, -1.0, 0.0], atol=0.01)


def test_without_features_that_tell_anything_the_share_is_the_mean() -> None:
    found = fit_logit(np.zeros((4, 1)), np.array([0.0, 1.0, 1.0, 1.0]), penalty=0.1, signs=np.zeros(1, np.int64))
    np.testing.assert_allclose(expit(found[0]), 0.75, atol=1e-4)
    assert found[1] == 0


def test_a_weight_has_the_sign_that_is_known() -> None:
    features, dice = masks(60)
    against = fitted(features, dice, np.array([1, 0, 0]))
    assert against.weights[1] == 0  # it falls with the feature, which it may not
    assert against.weights[2] > 0
    along = fitted(features, dice, np.array([-1, 1, 0]))
    np.testing.assert_allclose(along.weights, fitted(features, dice).weights, atol=1e-3)


def test_what_is_known_to_fall_falls_everywhere() -> None:
    features, dice = masks(40, noise=0.3)
    regression = fitted(features, dice, np.array([-1, 0, 0]))
    line = np.linspace(-1, 2, 50)[:, None] * [1.0, 0.0, 0.0] + [0.0, 100.0, 0.0]
    assert (np.diff(regression.predicted(line)) <= 0).all()


@pytest.mark.parametrize("count", [12, 100])
def test_the_dice_of_new_masks_is_predicted_better_than_by_the_mean(count: int) -> None:
    features, dice = masks(count)
    new, new_dice = masks(300, seed=1)
    errors = np.abs(fitted(features, dice).predicted(new) - new_dice)
    assert errors.mean() < 0.8 * np.abs(dice.mean() - new_dice).mean()


def test_the_difficulty_is_the_error_to_expect() -> None:
    generator = np.random.default_rng(0)
    features = generator.uniform(0, 1, (300, 1))
    dice = np.clip(0.6 + generator.normal(0, 0.01 + 0.2 * features[:, 0]), 0, 1)
    regression = fitted(features, dice)
    easy, hard = regression.difficulty(np.array([[0.1], [0.9]]))
    assert regression.mean_error == pytest.approx(
        0.11 * 0.8, rel=0.2
    )  # a normal variable's mean size is 0.8 deviations
    assert easy < regression.mean_error < hard


def test_a_prediction_is_a_dice_however_wild_the_features_are() -> None:
    regression = fitted(*masks(30))
    wild = np.array([[1e9, -1e9, 1e12], [-1e9, 1e9, 0.0]])
    assert ((regression.predicted(wild) > 0) & (regression.predicted(wild) < 1)).all()
    assert (regression.difficulty(wild) > 0).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_masks_that_are_all_alike_in_quality_are_predicted_so(value: float) -> None:
    regression = fitted(masks(20)[0], np.full(20, value))
    np.testing.assert_allclose(regression.predicted(masks(5, seed=1)[0]), value, atol=1e-3)
    assert (regression.difficulty(masks(5, seed=1)[0]) >= 1e-3).all()


def test_a_constant_feature_has_no_weight() -> None:
    features, dice = masks(30)
    features[:, 2] = 4.0
    assert fitted(features, dice).weights[3] == pytest.approx(0, abs=1e-9)


def test_a_file_gives_back_the_regression() -> None:
    regression, (new, _) = fitted(*masks(20)), masks(5, seed=1)
    again = DiceRegression.from_arrays(load(save(regression.to_arrays())))
    np.testing.assert_array_equal(again.predicted(new), regression.predicted(new))
    np.testing.assert_array_equal(again.difficulty(new), regression.difficulty(new))


def test_what_cannot_be_fitted_is_refused() -> None:
    features, dice = masks(10)
    with pytest.raises(DatasetError, match="at least 4 cases"):
        fitted(features[:3], dice[:3])
    with pytest.raises(DatasetError, match="at least two groups"):
        DiceRegression.fit(features, dice, groups=np.zeros(10))
    with pytest.raises(DatasetError, match="all alike"):
        fitted(np.ones((10, 2)), dice)
    with pytest.raises(ModelError, match="first in row 4"):
        fitted(features, np.where(np.arange(10) == 4, np.nan, dice))
    with pytest.raises(ModelError, match="3 features of a case"):
        fitted(features, dice).predicted(features[:, :2])
