"""Masks in every format that can be written, on every orientation, read back here and by another reader."""

import itertools
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline import geometry
from pipeline.formats import registry
from pipeline.scan import Scan
from tests.formats import references
from tests.formats.references import ReadReference

AXIS_ORDERS = [
    "".join(signs[axis][side] for axis, side in zip(order, sides, strict=True))
    for signs in (("RL", "AP", "SI"),)
    for order in itertools.permutations(range(3))
    for sides in itertools.product((0, 1), repeat=3)
]
SHAPE = (3, 4, 5)
SPACING_MM = np.array([0.7, 1.3, 2.5])
READERS: dict[str, ReadReference] = {
    ".nii.gz": references.by_nibabel,
    ".nii": references.by_nibabel,
    ".nrrd": references.by_simpleitk,
    ".mha": references.by_simpleitk,
    ".mgz": references.by_mgh_specification,
    ".mgh": references.by_mgh_specification,
}


def affine_of(codes: str, *, oblique: bool) -> NDArray[np.float64]:
    """An affine whose axes point as these letters say, turned by 17 degrees where it is oblique."""
    order = nibabel.orientations.axcodes2ornt(tuple(codes))
    affine = np.eye(4)
    for axis, (world, sign) in enumerate(order):
        affine[:3, axis] = np.eye(3)[int(world)] * sign * SPACING_MM[axis]
    if oblique:
        affine[:3, :3] = Rotation.from_euler("zx", [17, 11], degrees=True).as_matrix() @ affine[:3, :3]
    affine[:3, 3] = (-20.25, 7.5, 33.125)
    return affine


def write_nifti(path: Path, values: NDArray, affine: NDArray) -> None:
    nibabel.Nifti1Image(values, affine).to_filename(path)


def write_mgh(path: Path, values: NDArray, affine: NDArray) -> None:
    nibabel.MGHImage(values, affine).to_filename(path)


def write_by_itk(path: Path, values: NDArray, affine: NDArray) -> None:
    image = SimpleITK.GetImageFromArray(values.T)
    lps = np.diag([-1.0, -1, 1, 1]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    SimpleITK.WriteImage(image, str(path))


WRITERS: dict[str, Callable[[Path, NDArray, NDArray], None]] = {
    **dict.fromkeys((".nii.gz", ".nii"), write_nifti),
    **dict.fromkeys((".nrrd", ".mha"), write_by_itk),
    **dict.fromkeys((".mgz", ".mgh"), write_mgh),
}


def test_there_are_48_orders_of_axes() -> None:
    assert len(set(AXIS_ORDERS)) == 48


def test_every_ending_of_a_mask_is_in_these_tables_or_of_a_picture() -> None:
    assert set(registry.MASK_ENDINGS) == {*READERS, ".png", ".tif"} == {*WRITERS, ".png", ".tif"}


@pytest.mark.parametrize("ending", READERS)
@pytest.mark.parametrize("oblique", [False, True], ids=["aligned", "oblique"])
def test_scan_and_mask_of_a_format_lie_in_one_place_in_every_order_of_axes(
    tmp_path: Path, ending: str, oblique: bool
) -> None:
    values = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    for index, codes in enumerate(AXIS_ORDERS):
        affine = affine_of(codes, oblique=oblique)
        source = tmp_path / f"{codes}{ending}"
        WRITERS[ending](source, values, affine)
        scan = registry.read_scan(source)
        np.testing.assert_array_equal(scan.array[0], values, err_msg=codes)
        np.testing.assert_allclose(scan.affine, affine, atol=1e-5, err_msg=codes)
        assert geometry.orientation(scan.affine) == codes
        assert registry.mask_ending(scan) == ending
        check_mask(scan, tmp_path / f"{codes}-mask{ending}", READERS[ending], np.uint16 if index % 2 else np.uint8)


def check_mask(scan: Scan, target: Path, read: ReadReference, dtype: type) -> None:
    mask: NDArray = (np.arange(np.prod(SHAPE)).reshape(SHAPE) * (1 if dtype is np.uint8 else 900)).astype(dtype)
    registry.write_mask(target, mask, scan, labels={"liver": 1})
    own, (values, affine) = registry.read_mask(target), read(target)
    np.testing.assert_array_equal(own.array[0], mask)
    np.testing.assert_array_equal(values[0], mask)
    assert own.array.dtype == values.dtype.newbyteorder("=") == dtype
    np.testing.assert_allclose(own.affine, scan.affine, rtol=1e-12, atol=1e-12)
    assert affine is not None
    np.testing.assert_allclose(affine, scan.affine, atol=1e-5)


@pytest.mark.parametrize("ending", READERS)
def test_a_scan_of_any_format_can_have_its_mask_in_any_other(tmp_path: Path, ending: str) -> None:
    for codes in ("LPS", "RAS", "PSR", "ILA"):
        affine = affine_of(codes, oblique=True)
        scan = Scan(np.zeros((2, *SHAPE), np.int16), affine, tmp_path / "scan.mnc", format="MINC")
        mask = np.arange(np.prod(SHAPE), dtype=np.uint8).reshape(SHAPE)
        target = tmp_path / f"{codes}{ending}"
        registry.write_mask(target, mask, scan, labels={})
        own, (values, written) = registry.read_mask(target), READERS[ending](target)
        np.testing.assert_array_equal(own.array[0], mask)
        np.testing.assert_array_equal(values[0], mask)
        for found in (own.affine, written):
            assert found is not None
            np.testing.assert_allclose(found, affine, atol=1e-4)


@pytest.mark.parametrize("ending", READERS)
def test_a_writer_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = Scan(np.zeros((1, *SHAPE), np.int16), np.eye(4), tmp_path / "scan")
    target = tmp_path / "out" / f"mask{ending}"
    registry.write_mask(target, np.zeros(SHAPE, np.uint8), scan, labels={})
    before = target.read_bytes()

    def full_disk(path: Path, *_: object) -> None:
        raise OSError(28, f"No space left on device: {path}")

    monkeypatch.setattr("pipeline.files.fsync", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        registry.write_mask(target, np.ones(SHAPE, np.uint8), scan, labels={})
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    assert target.read_bytes() == before
