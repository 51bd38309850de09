"""FreeSurfer, AFNI and MINC: the formats that nibabel reads besides NIfTI."""

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import netcdf_file

from pipeline.errors import ScanError
from pipeline.formats import registry
from tests.conftest import RealData
from tests.formats import references

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
AFFINE = np.array([[-0.7, 0, 0, 30], [0, 0.6, -0.8, -20], [0, 0.8, 0.6, 10], [0, 0, 0, 1]])


def mgh(folder: Path, array: NDArray = VOXELS, name: str = "scan.mgz") -> Path:
    nibabel.MGHImage(array, AFFINE).to_filename(folder / name)
    return folder / name


def patched(path: Path, offset: int, content: bytes) -> Path:
    """A file of FreeSurfer's, uncompressed, with other bytes at an offset."""
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)
    return path


class TestFreeSurfer:
    @pytest.mark.parametrize("name", ["scan.mgz", "scan.mgh"])
    @pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "f4", "u2"])
    def test_a_volume_is_read_as_the_format_s_description_has_it(self, tmp_path: Path, name: str, dtype: str) -> None:
        path = mgh(tmp_path, VOXELS.astype(dtype), name)
        scan, (values, affine) = registry.read_scan(path), references.by_mgh_specification(path)
        np.testing.assert_array_equal(scan.array, values)
        assert (scan.array.dtype, scan.array.dtype.isnative) == (np.dtype(dtype), True)
        assert affine is not None
        np.testing.assert_allclose(scan.affine, affine, atol=1e-12)
        np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-5)

    def test_frames_become_the_channels(self, tmp_path: Path) -> None:
        path = mgh(tmp_path, np.stack([VOXELS, VOXELS + 1000], -1))
        assert registry.read_header(path).channels == 2
        np.testing.assert_array_equal(registry.read_scan(path).array[1], VOXELS + 1000)

    @pytest.mark.parametrize("name", ["scan.mgz", "scan.mgh"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_a_mask_has_the_very_numbers_of_its_scan_s_grid(self, tmp_path: Path, name: str, dtype: type) -> None:
        scan = registry.read_scan(mgh(tmp_path, name=name))
        target = tmp_path / f"mask{registry.mask_ending(scan)}"
        assert target.suffix == Path(name).suffix
        mask: NDArray = (VOXELS % 3 * (1 if dtype is np.uint8 else 300)).astype(dtype)
        registry.write_mask(target, mask, scan, labels={"a": 1})
        own, (values, affine) = registry.read_mask(target), references.by_mgh_specification(target)
        np.testing.assert_array_equal(own.array[0], mask)
        np.testing.assert_array_equal(values[0], mask)
        np.testing.assert_array_equal(own.affine, scan.affine)
        np.testing.assert_array_equal(affine, references.by_mgh_specification(scan.source)[1])

    def test_a_mask_carries_no_text_of_the_scan(self, tmp_path: Path) -> None:
        path = mgh(tmp_path, name="scan.mgh")
        path.write_bytes(path.read_bytes() + b"\0\0\0\3JANE DOE")  # tags behind the voxels hold commands and paths
        registry.write_mask(tmp_path / "mask.mgh", np.ones(VOXELS.shape, np.uint8), registry.read_scan(path), labels={})
        assert b"JANE" not in (tmp_path / "mask.mgh").read_bytes()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            pytest.param(lambda path: patched(path, 28, b"\0\0"), "goodRASFlag 0, so left", id="no orientation"),
            pytest.param(lambda path: patched(path, 0, b"\0\0\0\2"), "begins with other numbers", id="another version"),
            pytest.param(lambda path: patched(path, 20, b"\0\0\0\7"), "begins with other numbers", id="unknown type"),
            pytest.param(lambda path: patched(path, 4, b"\0\0\0\0"), "begins with other numbers", id="no voxels"),
            pytest.param(
                lambda path: patched(path, 4, b"\0\1\0\0"),
                r"Expected 3932160 bytes of voxels; found \d+: the file is cut off",
                id="claims more than there is",
            ),
            pytest.param(lambda path: patched(path, 30, b"\0" * 4), "a finite distance above zero", id="spacing 0"),
            pytest.param(lambda path: patched(path, 30, b"\x7f\xc0\0\0"), "a finite distance", id="spacing NaN"),
            pytest.param(lambda path: _cut(path, 284 + 239), "Expected 240 bytes of voxels; found 239", id="cut"),
            pytest.param(lambda path: _cut(path, 50), r"damaged or cut off \(50 bytes\)", id="half a header"),
        ],
    )
    def test_a_damaged_or_odd_file_is_refused(self, tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
        path = make(mgh(tmp_path, name="scan.mgh"))
        with pytest.raises(ScanError, match=message):
            registry.read_scan(path)

    def test_compressed_data_that_is_cut_off_is_refused(self, tmp_path: Path) -> None:
        path = _cut(mgh(tmp_path), -9)
        with pytest.raises(ScanError, match="compressed data that is damaged or cut off"):
            registry.read_scan(path)


def _cut(path: Path, kept: int) -> Path:
    path.write_bytes(path.read_bytes()[:kept])
    return path


HEAD = """
type = string-attribute
name = HISTORY_NOTE
count = 9
'JANE DOE~

type = integer-attribute
name = DATASET_RANK
count = 2
 3 2

type = integer-attribute
name = DATASET_DIMENSIONS
count = 3
 4 5 3

type = integer-attribute
name = BRICK_TYPES
count = 2
 1 1

type = float-attribute
name = BRICK_FLOAT_FACS
count = 2
 0 0.5

type = string-attribute
name = BYTEORDER_STRING
count = 10
'LSB_FIRST~

type = integer-attribute
name = ORIENT_SPECIFIC
count = 3
 0 3 4

type = float-attribute
name = ORIGIN
count = 3
 -10 20 -30

type = float-attribute
name = DELTA
count = 3
 2 -3 4

type = float-attribute
name = IJK_TO_DICOM_REAL
count = 12
 2 0 0 -10 0 -3 0 20 0 0 4 -30
"""


def afni(folder: Path, head: str = HEAD, *, compressed: bool = False) -> Path:
    (folder / "scan+orig.HEAD").write_text(head)
    data = np.arange(120, dtype="<i2").tobytes()
    name = "scan+orig.BRIK.gz" if compressed else "scan+orig.BRIK"
    (folder / name).write_bytes(gzip.compress(data) if compressed else data)
    return folder / "scan+orig.HEAD"


class TestAfni:
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("ending", ["HEAD", "BRIK"])
    def test_both_files_are_read_whichever_is_given(self, tmp_path: Path, compressed: bool, ending: str) -> None:
        head = afni(tmp_path, compressed=compressed)
        path = head if ending == "HEAD" else head.with_name("scan+orig.BRIK" + (".gz" if compressed else ""))
        scan, (values, affine) = registry.read_scan(path), references.by_afni_attributes(head)
        np.testing.assert_array_equal(scan.array, values)
        assert scan.array[1, 0, 0, 0] == 30  # 60 times the sub-brick's factor
        assert affine is not None
        np.testing.assert_allclose(scan.affine, affine)
        np.testing.assert_allclose(scan.affine, [[-2, 0, 0, 10], [0, 3, 0, -20], [0, 0, 4, -30], [0, 0, 0, 1]])

    def test_the_mask_is_nifti_and_has_no_text(self, tmp_path: Path) -> None:
        scan = registry.read_scan(afni(tmp_path))
        assert registry.mask_ending(scan) == ".nii.gz"
        registry.write_mask(tmp_path / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan, labels={})
        np.testing.assert_allclose(registry.read_mask(tmp_path / "mask.nii.gz").affine, scan.affine, atol=1e-6)
        assert b"JANE" not in gzip.decompress((tmp_path / "mask.nii.gz").read_bytes())

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            (HEAD.replace("IJK_TO_DICOM_REAL", "OTHER"), "with IJK_TO_DICOM_REAL; found none, so that left and right"),
            (HEAD.replace(" 1 1\n", " 1 3\n"), "multiple data types"),
            (HEAD.replace(" 1 1\n", " 5 5\n"), "complex numbers|deduce image data type"),
            (HEAD.replace(" 4 5 3\n", " 4 5 0\n"), "three axes"),
            (HEAD.replace(" 4 5 3\n", " 4 5 30\n"), "Expected 2400 bytes of voxels; found 240: the file is cut off"),
            (HEAD.replace("DATASET_RANK", "RANK"), "a whole AFNI file; found one that is damaged or cut off"),
            (HEAD[:200], "a whole AFNI file; found one that is damaged or cut off"),
        ],
    )
    def test_a_damaged_or_odd_header_is_refused(self, tmp_path: Path, head: str, message: str) -> None:
        with pytest.raises(ScanError, match=message):
            registry.read_scan(afni(tmp_path, head))

    def test_a_file_without_the_other_is_refused(self, tmp_path: Path) -> None:
        head = afni(tmp_path)
        voxels = head.with_name("scan+orig.BRIK").rename(tmp_path / "other+orig.BRIK")
        with pytest.raises(ScanError, match=r"a \.HEAD beside a \.BRIK .*; found scan\+orig\.HEAD alone"):
            registry.read_header(head)
        with pytest.raises(ScanError, match=r"a header beside the voxels \(\.head\); found other\+orig\.BRIK alone"):
            registry.read_scan(voxels)

    def test_voxels_that_are_cut_off_are_refused(self, tmp_path: Path) -> None:
        head = afni(tmp_path, compressed=True)
        _cut(head.with_name("scan+orig.BRIK.gz"), -10)
        with pytest.raises(ScanError, match="compressed data that is damaged or cut off"):
            registry.read_scan(head)


def minc(folder: Path, *, step: bool = True, spacing: bytes = b"regular__", names: str = "zyx") -> Path:
    """A MINC 1 file of bytes from 0 to 59, scaled to 0 to 590, with an x axis that is turned by 30 degrees."""
    path = folder / "scan.mnc"
    sizes = {"z": 3, "y": 4, "x": 5}
    with netcdf_file(path, "w") as file:
        for name in names:
            file.createDimension(f"{name}space", sizes[name])
            axis = file.createVariable(f"{name}space", "i", ())
            axis.spacing, axis.start = spacing, {"x": 7.0, "y": 8.0, "z": 9.0}[name]
            if step:
                axis.step = {"x": 1.0, "y": -2.0, "z": 3.0}[name]
            if name == "x":
                axis.direction_cosines = np.array([np.cos(np.pi / 6), 0, np.sin(np.pi / 6)])
            if name == "z":
                axis.direction_cosines = np.array([-np.sin(np.pi / 6), 0, np.cos(np.pi / 6)])
        axes = tuple(f"{name}space" for name in names)
        image = file.createVariable("image", "b", axes)
        image.signtype, image.valid_range = b"unsigned", np.array([0.0, 59.0])
        image[:] = np.arange(np.prod([sizes[name] for name in names]), dtype=np.int8).reshape(
            [sizes[name] for name in names]
        )
        for name, value in (("image-max", 590.0), ("image-min", 0.0)):
            file.createVariable(name, "d", ()).data[...] = value
    return path


class TestMinc:
    def test_axes_are_placed_by_start_step_and_direction(self, tmp_path: Path) -> None:
        scan = registry.read_scan(minc(tmp_path))
        np.testing.assert_allclose(scan.array[0], np.arange(60).reshape(3, 4, 5) * 10)
        assert scan.array.dtype.isnative
        # MINC's world is RAS mm: position = sum over axes of (start + step x index) x direction
        x, y, z = np.array([np.cos(np.pi / 6), 0, 0.5]), np.array([0, 1, 0]), np.array([-0.5, 0, np.cos(np.pi / 6)])
        expected = np.eye(4)
        expected[:3, :3] = np.stack([3 * z, -2 * y, x], -1)
        expected[:3, 3] = 7 * x + 8 * y + 9 * z
        np.testing.assert_allclose(scan.affine, expected)
        assert registry.mask_ending(scan) == ".nii.gz"

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda folder: minc(folder, step=False), "a step for each axis of the MINC file; found none for zspace"),
            (lambda folder: minc(folder, spacing=b"irregular"), "Irregular spacing not supported"),
            (
                lambda folder: minc(folder, names="yx"),
                "a MINC volume, .*; found the axes yspace, xspace",
            ),
            (lambda folder: _cut(minc(folder), -40), "a whole MINC file; found one that is damaged or cut off"),
            (lambda folder: _cut(minc(folder), 100), "a whole MINC file; found one that is damaged or cut off"),
        ],
        ids=["no step", "irregular", "two axes", "cut", "half a header"],
    )
    def test_a_damaged_or_odd_file_is_refused(self, tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
        path = make(tmp_path)
        with pytest.raises(ScanError, match=message):
            registry.read_scan(path)

    def test_a_file_in_hdf5_that_is_cut_off_is_refused(self, real_data: RealData, tmp_path: Path) -> None:
        content = (real_data("hostile/nifti_hostile") / "nibabel" / "minc2_1_scale.mnc").read_bytes()
        (tmp_path / "scan.mnc").write_bytes(content[: len(content) // 2])
        with pytest.raises(ScanError, match="a whole MINC file"):
            registry.read_scan(tmp_path / "scan.mnc")
