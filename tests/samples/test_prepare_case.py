from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config.preprocessing import BorderConfig, Outside
from pipeline.errors import DatasetError, ScanError
from pipeline.layouts.dataset import Case
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.labels import IGNORED
from pipeline.samples.prepare import FOREGROUND_VOXELS, Recipe, case_key, foreground, prepare_case, prepare_unchanged

WriteVolume = Callable[..., Path]
FITTED = FittedPreprocessing(
    spacing_mm=None, crop="nonzero", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)
RECIPE = Recipe(FITTED, (1,))
OTHER: dict[Outside, Outside] = {"ignored": "background", "background": "ignored"}


def test_a_case_is_read_cropped_and_its_labels_become_classes(tmp_path: Path, write_volume: WriteVolume) -> None:
    image, mask = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.uint8)
    image[1:3, :, :], mask[1, 2, 3], mask[2, 0, 0] = 7, 9, 4
    case = Case("a", (write_volume(tmp_path / "a.nii", image),), write_volume(tmp_path / "m.nii", mask), "a")
    prepared = prepare_case(case, Recipe(FITTED, (4, 9)))
    assert prepared.name == "a"
    assert prepared.image.shape == (1, 2, 4, 4)
    assert prepared.labels.dtype == np.uint8
    assert [voxels.tolist() for voxels in prepared.foreground] == [[[1, 0, 0]], [[0, 2, 3]]]
    with pytest.raises(ScanError, match="found also 4"):
        prepare_case(case, Recipe(FITTED, (9,)))


def test_a_case_whose_files_have_changed_is_not_prepared_under_the_key_of_the_old_ones(
    tmp_path: Path, write_volume: WriteVolume
) -> None:
    image = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    case = Case("a", (write_volume(tmp_path / "a.nii", image),), write_volume(tmp_path / "m.nii", image % 2), "a")
    key = case_key(case, RECIPE)
    np.testing.assert_array_equal(prepare_unchanged(case, RECIPE, key).image, prepare_case(case, RECIPE).image)
    write_volume(tmp_path / "a.nii", image[::-1])
    with pytest.raises(DatasetError, match=r"others for the case a\. Start the run afresh"):
        prepare_unchanged(case, RECIPE, key)


def test_the_foreground_is_sampled_over_the_whole_structure() -> None:
    labels = np.ones((30, 30, 30), np.uint8)
    labels[0] = 0
    (voxels,) = foreground(labels, 1)
    assert FOREGROUND_VOXELS <= len(voxels) < 2 * FOREGROUND_VOXELS
    assert voxels.dtype == np.int32
    assert (voxels[:, 0].min(), voxels[:, 0].max()) == (1, 29)


def test_a_class_that_a_case_lacks_has_no_voxels() -> None:
    one, two = foreground(np.full((2, 2, 2), 2, np.uint8), 2)
    assert (len(one), len(two)) == (0, 8)


def test_what_lies_between_two_parts_of_a_structure_can_be_made_to_count_for_more(
    tmp_path: Path, write_volume: WriteVolume
) -> None:
    image, mask = np.zeros((9, 9, 2), np.float32), np.zeros((9, 9, 2), np.uint8)
    image[4, 4, 0] = 1
    mask[1:4, 1:8, 0] = mask[5:8, 1:8, 0] = 1  # two parts with a line between them, in one slice of two
    case = Case("a", (write_volume(tmp_path / "a.nii", image),), write_volume(tmp_path / "m.nii", mask), "a")
    stacked = FITTED.model_copy(update={"slice_axis": 2, "crop": "none"})
    assert prepare_case(case, Recipe(stacked, (1,))).weights is None
    weights = prepare_case(case, Recipe(stacked, (1,), BorderConfig(weight=10, sigma_voxels=2))).weights
    assert weights is not None
    assert weights.dtype == np.float32
    assert weights[4, 4, 0] > 5 * weights[0, 0, 0]
    assert np.unique(weights[..., 1]).size == 1


@pytest.mark.parametrize(("outside", "expected"), [("ignored", IGNORED), ("background", 0)])
def test_what_lies_outside_the_field_of_view_counts_in_no_loss_or_as_background(
    tmp_path: Path, write_volume: WriteVolume, outside: Outside, expected: int
) -> None:
    mask, view = np.ones((4, 4, 4), np.uint8), np.ones((4, 4, 4), np.uint8)
    view[0] = 0
    files = {name: write_volume(tmp_path / f"{name}.nii", array) for name, array in (("mask", mask), ("view", view))}
    case = Case("a", (write_volume(tmp_path / "a.nii", mask),), files["mask"], "a", files["view"])
    recipe = Recipe(FITTED, (1,), outside=outside)
    assert np.unique(prepare_case(case, recipe).labels[0]).tolist() == [expected]
    assert np.unique(prepare_case(case, recipe).labels[1:]).tolist() == [1]
    mask[0] = 9  # a value that is no label means nothing there either
    write_volume(tmp_path / "mask.nii", mask)
    assert np.unique(prepare_case(case, recipe).labels[0]).tolist() == [expected]
    assert case_key(case, recipe) != case_key(case, Recipe(FITTED, (1,), outside=OTHER[outside]))


def test_a_single_pixel_in_a_large_image_has_a_weight_that_can_be_computed_with(
    tmp_path: Path, write_volume: WriteVolume
) -> None:
    mask = np.zeros((512, 512, 1), np.uint8)
    mask[100, 100] = 1
    case = Case("a", (write_volume(tmp_path / "a.nii", mask),), write_volume(tmp_path / "m.nii", mask), "a")
    stacked = FITTED.model_copy(update={"slice_axis": 2, "crop": "none"})
    weights = prepare_case(case, Recipe(stacked, (1,), BorderConfig(weight=10, sigma_voxels=5))).weights
    assert weights is not None
    assert np.isfinite(weights).all()
    assert weights[100, 100, 0] == pytest.approx(512 * 512 / 2)
