import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from pipeline.errors import DatasetError, ModelError
from pipeline.quality.folds import cross_fitted, group_folds
from pipeline.quality.outliers import Mahalanobis, NearestNeighbours, nearest

KINDS = [Mahalanobis, NearestNeighbours]
Outliers = type[Mahalanobis] | type[NearestNeighbours]


def cases(count: int, features: int, seed: int = 0) -> NDArray[np.float64]:
    """Cases that vary in six directions, and a little in all others, as features of a network do."""
    generator = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(6, features))
    return generator.normal(size=(count, 6)) @ directions + 0.1 * generator.normal(size=(count, features)) + 3


def test_the_distance_of_a_cross_of_points_is_the_one_worked_out_by_hand() -> None:
    # (+-2, 0) and (0, +-1): deviations sqrt(2) and sqrt(1/2). Standardised, (+-sqrt(2), 0) and (0, +-sqrt(2)), whose
    # components are equally strong; one of two is kept, of variance 1 after shrinkage of one dimension, which is none.
    fitted = Mahalanobis.fit(np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
    assert (len(fitted.components), fitted.variances.tolist()) == (1, pytest.approx([1]))
    inside, outside = fitted.scores(np.array([[4.0, 3.0]]))[0]  # (2 sqrt(2), 3 sqrt(2)) standardised
    assert sorted([inside, outside * np.sqrt(2)]) == pytest.approx([2 * np.sqrt(2), 3 * np.sqrt(2)])


def test_the_distances_are_those_of_sklearns_pca_and_ledoit_wolf() -> None:
    training, new = cases(60, 40), cases(5, 40, seed=1) * 1.5
    fitted = Mahalanobis.fit(training)
    scaler = StandardScaler().fit(training)
    pca = PCA(len(fitted.components)).fit(scaler.transform(training))
    assert pca.explained_variance_ratio_[:-1].sum() < 0.95 <= pca.explained_variance_ratio_.sum()
    covariance = LedoitWolf().fit(pca.transform(scaler.transform(training)))
    reduced = pca.transform(scaler.transform(new))
    precision = np.linalg.inv(covariance.covariance_)
    inside = [mahalanobis(row, covariance.location_, precision) / np.sqrt(len(precision)) for row in reduced]
    outside = scaler.transform(new) - pca.inverse_transform(reduced)
    found = fitted.scores(new)
    np.testing.assert_allclose(found[:, 0], inside)
    np.testing.assert_allclose(found[:, 1], np.sqrt((outside**2).mean(axis=1)))


def test_the_neighbours_are_sklearns() -> None:
    training, new = cases(30, 12), cases(5, 12, seed=1)
    scaler = StandardScaler().fit(training)
    reference = NearestNeighbors(n_neighbors=5).fit(scaler.transform(training))
    distances, _ = reference.kneighbors(scaler.transform(new))
    found = NearestNeighbours.fit(training).scores(new)
    np.testing.assert_allclose(found[:, 0], distances.mean(axis=1) / np.sqrt(12))


def test_the_nearest_are_averaged_and_all_are_where_there_are_few() -> None:
    distances = np.array([[5.0, 1.0, 3.0]])
    assert nearest(distances, 2).tolist() == [2]
    assert nearest(distances, 9).tolist() == [3]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("count", "features"), [(8, 64), (8, 2000), (60, 2000)])
def test_few_cases_of_many_features_tell_foreign_ones_from_new_ones(kind: Outliers, count: int, features: int) -> None:
    fitted = kind.fit(cases(count, features))
    new, foreign = cases(20, features, seed=1), np.random.default_rng(5).normal(3, 9.0, (20, features))
    assert np.isfinite(fitted.scores(new)).all()
    assert (fitted.scores(foreign).max(axis=1) > fitted.scores(new).max(axis=1).max()).all()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_training_cases_are_those_of_new_cases_only_when_cross_fitted(kind: Outliers) -> None:
    training, new = cases(20, 300), cases(200, 300, seed=1)
    fitted = kind.fit(training)
    held_out = cross_fitted(lambda kept: kind.fit(training[kept]).scores, training, group_folds(np.arange(20), 20))
    expected = np.median(fitted.scores(new), axis=0)
    assert held_out.shape == (20, len(kind.SCORES))
    assert (np.median(fitted.scores(training), axis=0) < 0.95 * expected).all()
    np.testing.assert_allclose(np.median(held_out, axis=0), expected, rtol=0.25)


def test_the_residual_sees_a_direction_in_which_no_training_case_went() -> None:
    generator = np.random.default_rng(0)
    training = np.column_stack([generator.normal(size=(40, 4)) @ generator.normal(size=(4, 9)), 1e-3 * np.ones(40)])
    odd = training[:1] + np.eye(10)[9] * 20
    fitted = Mahalanobis.fit(training)
    assert fitted.scores(odd)[0, 0] == pytest.approx(fitted.scores(training[:1])[0, 0], rel=1e-6)
    assert fitted.scores(odd)[0, 1] > 5 * fitted.scores(training)[:, 1].max()


def test_constant_features_change_nothing_where_new_cases_have_them_too() -> None:
    training, new = cases(20, 10), cases(3, 10, seed=1)
    padded = [np.column_stack([rows, np.full((len(rows), 10), 7.0)]) for rows in (training, new)]
    plain, wide = Mahalanobis.fit(training).scores(new), Mahalanobis.fit(padded[0]).scores(padded[1])
    np.testing.assert_allclose(wide[:, 0], plain[:, 0])
    np.testing.assert_allclose(wide[:, 1], plain[:, 1] / np.sqrt(2))  # a mean over twice as many features


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_the_units_of_the_features(kind: Outliers) -> None:
    training, new = cases(20, 10), cases(3, 10, seed=1)
    units = 10.0 ** np.arange(-5, 5)
    np.testing.assert_allclose(kind.fit(training * units).scores(new * units), kind.fit(training).scores(new))


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_give_back_what_was_fitted(kind: Outliers) -> None:
    fitted, new = kind.fit(cases(12, 30)), cases(3, 30, seed=1)
    np.testing.assert_array_equal(kind.from_arrays(fitted.to_arrays()).scores(new), fitted.scores(new))


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_fitted_or_scored_is_refused(kind: Outliers) -> None:
    with pytest.raises(DatasetError, match="at least 4 cases"):
        kind.fit(cases(3, 10))
    with pytest.raises(DatasetError, match="all alike"):
        kind.fit(np.ones((9, 5)))
    with pytest.raises(ModelError, match="NaN or infinity in 10 of 10 rows"):
        kind.fit(np.full((10, 3), np.nan))
    with pytest.raises(ModelError, match="first in row 1"):
        kind.fit(cases(8, 4)).scores(np.array([[0.0] * 4, [np.nan] * 4]))
    with pytest.raises(ModelError, match="4 features of a case"):
        kind.fit(cases(8, 4)).scores(np.zeros((1, 5)))


@pytest.mark.parametrize("kind", KINDS)
def test_no_new_case_has_no_scores(kind: Outliers) -> None:
    assert kind.fit(cases(8, 4)).scores(np.zeros((0, 4))).shape == (0, len(kind.SCORES))


def test_a_copy_of_a_training_case_is_at_distance_0_from_it() -> None:
    training = cases(10, 6)
    assert NearestNeighbours.fit(training, neighbours=1).scores(training[:2]).ravel().tolist() == [0, 0]
