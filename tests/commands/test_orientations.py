"""The contract of the pipeline: a mask on the scan's own grid, whatever the order of its axes."""

from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel import orientations
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray
from rich.console import Console

from pipeline.commands.predict import predict
from pipeline.formats import nifti, registry
from pipeline.inference.predictor import Predictor
from pipeline.model import load_model

RealData = Callable[[str], Path]
WriteModel = Callable[..., Path]
AXIS_ORDERS = ["".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes)]
SPACINGS = {"isotropic": (1.0, 1.0, 1.0), "anisotropic": (0.8, 1.1, 4.0)}


def _phantom() -> NDArray[np.int16]:
    """Three boxes of unlike sizes off the middle, so that no flip and no exchange of axes maps it onto itself."""
    image = np.zeros((11, 13, 9), np.int16)
    image[1:4, 2:9, 3:8] = 40
    image[6:9, 8:12, 1:3] = 60
    image[2:4, 3:5, 4:8] = 200
    return image


def _truth() -> NDArray[np.uint8]:
    image = _phantom()
    return np.where(image > 100, 4, np.where(image > 0, 1, 0)).astype(np.uint8)


def _affine(spacing_mm: tuple[float, float, float], *, oblique: bool) -> NDArray[np.float64]:
    """Of the phantom in RAS order, voxel index -> RAS mm; oblique ones are turned by 20 degrees about z, then x."""
    turn = np.eye(3)
    if oblique:
        c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
        turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing_mm)
    affine[:3, 3] = (-20.0, 7.5, 33.0)
    return affine


def _stored(array: NDArray, affine: NDArray[np.float64], codes: str) -> SpatialImage:
    """A volume in RAS order stored in another order of axes, by nibabel."""
    image = nibabel.Nifti1Image(array, affine)
    change = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes))
    stored = image.as_reoriented(change)
    stored.set_qform(stored.affine, code=1)
    stored.set_sform(stored.affine, code=1)
    return stored


def load(path: Path) -> nibabel.Nifti1Image:
    image = nibabel.load(path)
    assert isinstance(image, nibabel.Nifti1Image)
    return image


def _upright(path: Path) -> NDArray[np.uint8]:
    return np.asarray(nibabel.as_closest_canonical(load(path)).dataobj)


def test_there_are_48_orders_of_axes() -> None:
    assert len(set(AXIS_ORDERS)) == 48


def test_no_order_of_axes_but_one_leaves_the_phantom_as_it_is() -> None:
    truth = _truth()
    same = [
        codes for codes in AXIS_ORDERS if np.array_equal(np.asarray(_stored(truth, np.eye(4), codes).dataobj), truth)
    ]
    assert same == ["RAS"]


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("oblique", [False, True], ids=["aligned", "oblique"])
def test_in_every_order_of_axes_the_mask_is_the_truth_on_the_scans_own_grid(
    write_model: WriteModel, tmp_path: Path, oblique: bool, spacing: str
) -> None:
    model = load_model(write_model(patch_size=(8, 8, 8)))
    predictor = Predictor(model, model.manifest.inference)
    affine = _affine(SPACINGS[spacing], oblique=oblique)
    for codes in AXIS_ORDERS:
        _stored(_phantom(), affine, codes).to_filename(tmp_path / f"{codes}.nii")
        truth = _stored(_truth(), affine, codes)
        scan = registry.read_scan(tmp_path / f"{codes}.nii")
        nifti.write_mask(tmp_path / f"{codes}-mask.nii.gz", predictor.predict(scan), scan)
        mask, source = load(tmp_path / f"{codes}-mask.nii.gz"), load(tmp_path / f"{codes}.nii")
        assert "".join(orientations.aff2axcodes(mask.affine)) == codes
        np.testing.assert_array_equal(mask.affine, source.affine, err_msg=codes)
        np.testing.assert_array_equal(np.asarray(mask.dataobj), np.asarray(truth.dataobj), err_msg=codes)


def test_in_every_order_of_axes_a_resampled_mask_is_the_same_in_the_patient(
    write_model: WriteModel, tmp_path: Path
) -> None:
    """Unlike spacings, scan and model: one that is taken for another axis's changes the mask."""
    model = load_model(write_model(patch_size=(8, 8, 8), spacing_mm=(1.0, 1.7, 1.3)))
    predictor = Predictor(model, model.manifest.inference)
    affine = _affine((1.5, 1.0, 2.0), oblique=True)
    masks = {}
    for codes in AXIS_ORDERS:
        _stored(_phantom(), affine, codes).to_filename(tmp_path / f"{codes}.nii")
        scan = registry.read_scan(tmp_path / f"{codes}.nii")
        nifti.write_mask(tmp_path / "mask.nii", predictor.predict(scan), scan)
        masks[codes] = _upright(tmp_path / "mask.nii")
    for codes, mask in masks.items():
        np.testing.assert_array_equal(mask, masks["RAS"], err_msg=codes)
    share = ((masks["RAS"] > 0) == (_truth() > 0)).mean()
    assert share > 0.9  # linear interpolation moves the threshold at most a voxel outwards
    assert set(np.unique(masks["RAS"])) == {0, 1, 4}


def test_one_head_in_all_48_orders_of_axes_gets_one_mask(
    write_model: WriteModel, real_data: RealData, tmp_path: Path
) -> None:
    source = real_data("hostile/nifti_hostile/orientations48")
    model = load_model(write_model(patch_size=(64, 64, 64)))
    done = predict(
        model,
        source,
        tmp_path / "out",
        config=model.manifest.inference,
        console=Console(quiet=True),
    )
    assert (done.done, done.failed) == (48, 0)
    masks = {row["case"]: _upright(tmp_path / "out" / row["case"] / "mask.nii.gz") for row in done.rows}
    assert sorted(masks) == sorted(AXIS_ORDERS)
    for codes, mask in masks.items():
        np.testing.assert_array_equal(mask, masks["RAS"], err_msg=codes)
        original = load(source / f"{codes}.nii.gz")
        np.testing.assert_allclose(load(tmp_path / "out" / codes / "mask.nii.gz").affine, original.affine, atol=1e-5)
    head = np.asarray(nibabel.as_closest_canonical(load(source / "RAS.nii.gz")).dataobj)
    np.testing.assert_array_equal(masks["RAS"], np.where(head > 100.5, 4, head > 0.5))
