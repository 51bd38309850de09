"""The sample data are what their script makes, small, and beyond the reach of a threshold."""

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import aff2axcodes
from numpy.typing import NDArray
from PIL import Image

FOLDER = Path(__file__).parent.parent / "data_samples"
SHAPES, CELLS = FOLDER / "shapes", FOLDER / "cells"
LABELLED = sorted(path.name for path in (SHAPES / "labelsTr").glob("*.nii.gz"))
UNLABELLED = sorted(path.name for path in (SHAPES / "imagesTs").glob("*.nii.gz"))


def load_script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


thresholds = load_script("thresholds")


def read(part: str, name: str) -> NDArray:
    return np.asarray(Nifti1Image.from_filename(SHAPES / part / name).dataobj)


def digest(path: Path) -> str:
    """SHA-256 of type, shape, affine and voxels, whichever way they were compressed."""
    image = Nifti1Image.from_filename(path)
    array = np.asarray(image.dataobj)
    content = f"{array.dtype.str} {array.shape} {np.round(image.affine, 4).tolist()}".encode()
    return hashlib.sha256(content + array.tobytes()).hexdigest()


def test_a_threshold_finds_two_bright_voxels_and_leaves_out_a_smaller_component() -> None:
    image = np.array([[[0, 9, 9, 0, 9]]])
    assert thresholds.best_threshold_dice(image, np.array([[[False, True, True, False, False]]])) == 1.0


def test_two_thresholds_find_a_bright_part_beside_a_dark_one() -> None:
    image = np.array([[[5, 5, 9, 1, 5, 5, 5, 5]]])
    assert thresholds.best_two_threshold_dice(image, np.array([[[0, 0, 1, 2, 0, 0, 0, 0]]])) == 1.0


def test_the_files_hold_what_the_script_makes(tmp_path: Path) -> None:
    load_script("make_samples").main(tmp_path)
    made = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*") if path.is_file()}
    kept = {str(path.relative_to(SHAPES)): path for path in SHAPES.rglob("*") if path.is_file()}
    volumes = [name for name in made if name.endswith(".nii.gz")]
    assert made.keys() == kept.keys()
    assert {name: digest(made[name]) for name in volumes} == {name: digest(kept[name]) for name in volumes}
    assert made["dataset.json"].read_bytes() == kept["dataset.json"].read_bytes()


def test_the_description_lists_every_volume() -> None:
    description = json.loads((SHAPES / "dataset.json").read_text(encoding="utf-8"))
    assert [Path(case["image"]).name for case in description["training"]] == LABELLED
    assert [Path(name).name for name in description["test"]] == UNLABELLED
    assert (len(LABELLED), len(UNLABELLED)) == (20, 4)


def test_all_volumes_together_take_less_than_3_mb() -> None:
    assert 0 < sum(path.stat().st_size for path in SHAPES.rglob("*") if path.is_file()) < 3_000_000


@pytest.mark.parametrize("name", LABELLED)
def test_a_mask_has_both_labels_on_the_grid_of_its_image(name: str) -> None:
    image, mask = (
        Nifti1Image.from_filename(SHAPES / "imagesTr" / name),
        Nifti1Image.from_filename(SHAPES / "labelsTr" / name),
    )
    assert np.unique(np.asarray(mask.dataobj)).tolist() == [0, 1, 2]
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)


def test_the_volumes_are_stored_in_several_orientations_and_types() -> None:
    images = [Nifti1Image.from_filename(SHAPES / "imagesTr" / name) for name in LABELLED]
    assert {"".join(aff2axcodes(image.affine)) for image in images} == {"RAS", "LPS", "LAS", "PIR", "ASR"}
    assert {str(image.get_data_dtype()) for image in images} == {"uint8", "int16"}


def test_the_best_threshold_stays_under_a_dice_of_0_6() -> None:
    scores = [thresholds.best_threshold_dice(read("imagesTr", name), read("labelsTr", name) > 0) for name in LABELLED]
    assert np.mean(scores) < 0.6


def test_the_best_two_thresholds_stay_under_a_mean_dice_of_0_6() -> None:
    scores = [thresholds.best_two_threshold_dice(read("imagesTr", name), read("labelsTr", name)) for name in LABELLED]
    assert np.mean(scores) < 0.6


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_the_images_of_cells_hold_what_their_script_makes(tmp_path: Path) -> None:
    load_script("make_cells").main(tmp_path)
    made, kept = (sorted(path.relative_to(root) for path in root.rglob("*.*")) for root in (tmp_path, CELLS))
    assert made == kept
    for name in made:
        if name.suffix == ".png":
            np.testing.assert_array_equal(pixels(tmp_path / name), pixels(CELLS / name))
    assert (tmp_path / "dataset.json").read_bytes() == (CELLS / "dataset.json").read_bytes()


def test_masks_of_cells_are_grey_with_blurred_edges_and_most_cells_touch_another() -> None:
    masks = [pixels(path) for path in sorted((CELLS / "masks").iterdir())]
    assert len(masks) == 20
    assert all(mask.ndim == 2 and len(np.unique(mask)) > 10 for mask in masks)
    assert all(0.05 < (mask > 127).mean() < 0.4 for mask in masks)


def test_no_colour_tells_cells_from_spots() -> None:
    scores = []
    for path in sorted((CELLS / "images").iterdir()):
        truth = pixels(CELLS / "masks" / path.name) > 127
        scores.append(
            max(thresholds.best_threshold_of_all_parts(channel, truth) for channel in np.moveaxis(pixels(path), -1, 0))
        )
    assert np.mean(scores) < 0.85


def test_all_images_of_cells_together_take_less_than_1_mb() -> None:
    assert 0 < sum(path.stat().st_size for path in CELLS.rglob("*.*")) < 1_000_000
