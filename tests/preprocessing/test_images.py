"""Images that a network made, on the grid of the scan and on its own."""

from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.images import on_own_grid, on_prepared_grid, prepared_affine
from pipeline.preprocessing.prepare import Prepared, prepare
from pipeline.scan import Scan

CT = ClipNormalisation(low=-100.0, high=200.0, mean=50.0, std=25.0)


def fitted(**changes: Any) -> FittedPreprocessing:
    plain = FittedPreprocessing(
        spacing_mm=None, crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=100
    )
    return plain.model_copy(update=changes)


def scan(array: NDArray, affine: NDArray | None = None) -> Scan:
    return Scan(array, np.eye(4) if affine is None else affine, Path("scan.nii"))


def noise(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(10, 3, shape).astype(np.float32)


def changed(prepared: Prepared, by: float) -> NDArray[np.float32]:
    return prepared.image + np.float32(by)


def test_an_image_that_the_network_left_alone_is_the_scan() -> None:
    affine = np.diag([-2.0, 1, 3, 1])[:, [1, 0, 2, 3]]
    given = scan(noise(2, 6, 7, 5), affine)
    settings = fitted(channels=(ScanNormalisation(), ScanNormalisation()))
    prepared = prepare(given, settings)
    found = on_own_grid(prepared.image, prepared, given, fitted=settings)
    np.testing.assert_array_equal(found.array, given.array)
    assert found.affine is given.affine


def test_a_change_of_one_deviation_is_one_deviation_of_the_scan() -> None:
    given = scan(noise(1, 6, 7, 5))
    prepared = prepare(given, fitted())
    found = on_own_grid(changed(prepared, 1.0), prepared, given, fitted=fitted())
    np.testing.assert_allclose(found.array - given.array, given.array.std(), rtol=1e-5)


def test_what_normalising_clips_stays_as_it_is() -> None:
    given = scan(np.array([-1000, 0, 50, 3000], np.int16).reshape(1, 4, 1, 1))
    settings = fitted(channels=(CT,))
    prepared = prepare(given, settings)
    found = on_own_grid(changed(prepared, 2.0), prepared, given, fitted=settings)
    assert found.array.ravel().tolist() == [-950.0, 50.0, 100.0, 3050.0]  # 2 x 25 more
    assert found.array.dtype == np.float32


def test_zeros_that_are_background_stay_zeros() -> None:
    given = scan(np.array([0, 2, 6, 0], np.float32).reshape(1, 4, 1, 1))
    settings = fitted(channels=(ScanNormalisation(nonzero_only=True),))
    prepared = prepare(given, settings)
    found = on_own_grid(changed(prepared, 1.0), prepared, given, fitted=settings)
    assert found.array.ravel().tolist() == [0.0, 4.0, 8.0, 0.0]  # the deviation of 2 and 6 is 2


def test_what_was_cut_away_is_as_it_was() -> None:
    array = np.zeros((1, 6, 6, 6), np.float32)
    array[:, 2:4, 1:5, 3:] = noise(1, 2, 4, 3)
    settings = fitted(crop="nonzero")
    prepared = prepare(scan(array), settings)
    assert prepared.image.shape == (1, 2, 4, 3)
    found = on_own_grid(changed(prepared, 1.0), prepared, scan(array), fitted=settings).array
    outside = np.ones(array.shape, bool)
    outside[:, 2:4, 1:5, 3:] = False
    assert not found[outside].any()
    np.testing.assert_allclose((found - array)[~outside], array[:, 2:4, 1:5, 3:].std(), rtol=1e-5)


@pytest.mark.parametrize("order", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
def test_a_finer_grid_lies_where_the_scan_does(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    """Intensities that rise along each axis of the patient rise the same on the finer grid."""
    affine = np.zeros((4, 4))
    affine[list(order), range(3)] = np.array(signs) * np.array([3.0, 1.0, 2.0])
    affine[:, 3] = [10, -20, 30, 1]
    index = np.stack(np.meshgrid(*map(np.arange, (5, 6, 4)), [1], indexing="ij")).reshape(4, -1)
    x, y, z, _ = affine @ index
    given = scan((x + 10 * y + 100 * z).reshape(1, 5, 6, 4), affine)
    settings = fitted(spacing_mm=(1.0, 1.0, 1.0))
    prepared = prepare(given, settings)
    found = on_prepared_grid(prepared.image, prepared, given, fitted=settings)
    assert found.shape == prepared.image.shape[1:]
    inside = np.stack(np.meshgrid(*(np.arange(2, n - 2) for n in found.shape), [1], indexing="ij")).reshape(4, -1)
    x, y, z, _ = found.affine @ inside
    np.testing.assert_allclose(found.array[0][tuple(inside[:3])], x + 10 * y + 100 * z, rtol=1e-4)


def test_the_affine_of_a_grid_twice_as_fine_begins_a_quarter_voxel_earlier() -> None:
    given = scan(noise(1, 4, 4, 4), np.diag([1.0, 1.0, 2.0, 1.0]))
    trail = prepare(given, fitted(spacing_mm=(1.0, 1.0, 1.0))).trail
    expected = np.eye(4)
    expected[2, 3] = -0.5  # the edge of the first voxel of 2 mm lies at -1, and half a voxel of 1 mm behind it
    np.testing.assert_allclose(prepared_affine(given, trail), expected)


def test_a_finer_grid_holds_the_change_in_the_scan_s_units() -> None:
    given = scan(noise(1, 6, 6, 6), np.diag([1.0, 1.0, 2.0, 1.0]))
    settings = fitted(spacing_mm=(1.0, 1.0, 1.0))
    prepared = prepare(given, settings)
    plain, more = (on_prepared_grid(changed(prepared, by), prepared, given, fitted=settings) for by in (0.0, 1.0))
    np.testing.assert_allclose(more.array - plain.array, given.array.std(), rtol=1e-4)
