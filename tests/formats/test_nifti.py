"""Files are made with nibabel, which is the reference, and then damaged byte by byte."""

import gzip
import os
import pickle
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.formats import nifti, registry
from pipeline.scan import Scan
from tests.conftest import RealData

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
AFFINE = np.array([[-0.7, 0, 0, 30], [0, 0.7, 0, -20], [0, 0, 5, 10], [0, 0, 0, 1]], dtype=float)
HEADER_OFFSETS = {"dim": 40, "intent_code": 68, "datatype": 70, "pixdim": 76, "vox_offset": 108, "scl_slope": 112}


def volume(
    array: NDArray = VOXELS, affine: NDArray = AFFINE, *, version: int = 1, codes: tuple[int, int] = (1, 1)
) -> nibabel.Nifti1Image:
    """An image whose qform and sform are both ``affine``, with these codes."""
    kind = nibabel.Nifti2Image if version == 2 else nibabel.Nifti1Image
    image = kind(array, None)  # with an affine, nibabel would write that into both forms
    image.header.set_qform(affine, codes[0])
    image.header.set_sform(affine, codes[1])
    return image


def saved(folder: Path, image: nibabel.Nifti1Image, name: str = "scan.nii") -> Path:
    image.to_filename(folder / name)
    return folder / name


def pair(folder: Path, version: int = 1, suffix: str = "") -> Path:
    """A header beside its voxels, by nibabel; the path of the header."""
    kind = nibabel.Nifti2Pair if version == 2 else nibabel.Nifti1Pair
    image = kind(VOXELS, None)
    image.header.set_qform(AFFINE, 1)
    image.header.set_sform(AFFINE, 1)
    image.to_filename(folder / f"scan.hdr{suffix}")
    return folder / f"scan.hdr{suffix}"


def load(path: Path) -> Any:
    """nibabel's own reading of a file; its types do not tell one format from another."""
    return nibabel.load(path)


def patched(folder: Path, offset: int, form: str, *values: float, image: nibabel.Nifti1Image | None = None) -> Path:
    """A file whose header holds these values at an offset, packed as ``struct`` would, little-endian."""
    path = saved(folder, volume() if image is None else image)
    content = bytearray(path.read_bytes())
    struct.pack_into("<" + form, content, offset, *values)
    path.write_bytes(content)
    return path


def with_forms(folder: Path, sform: NDArray, qform: NDArray) -> Path:
    image = volume()
    image.header.set_sform(sform, 2)
    image.header.set_qform(qform, 1)
    return saved(folder, image)


def turned(degrees: float, scale: tuple[float, float, float] = (1, 1, 1), shift_mm: float = 0) -> NDArray:
    """AFFINE, rotated about the patient's head-foot axis, scaled along its voxel axes, and moved."""
    changed = AFFINE.copy()
    changed[:3, :3] = Rotation.from_euler("z", degrees, degrees=True).as_matrix() @ AFFINE[:3, :3] @ np.diag(scale)
    changed[:3, 3] += shift_mm
    return changed


class TestReading:
    @pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "SCAN.NII.GZ"])
    @pytest.mark.parametrize("version", [1, 2])
    def test_a_volume_gets_a_channel_axis_and_keeps_everything_else(
        self, tmp_path: Path, name: str, version: int
    ) -> None:
        path = saved(tmp_path, volume(version=version), name)
        scan = registry.read_scan(path)
        np.testing.assert_array_equal(scan.array, VOXELS[None])
        np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
        assert (scan.array.dtype.name, scan.source) == ("int16", path)

    @pytest.mark.parametrize("kind", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_every_number_type_in_either_byte_order_comes_back_in_the_machine_s_own(
        self, tmp_path: Path, kind: str, order: str
    ) -> None:
        header = nibabel.Nifti1Header(endianness=order)
        header.set_data_dtype(kind)
        image = nibabel.Nifti1Image(VOXELS.astype(kind), AFFINE, header)
        scan = registry.read_scan(saved(tmp_path, image))
        np.testing.assert_array_equal(scan.array[0], VOXELS)
        assert scan.array.dtype == np.dtype(kind)
        assert scan.array.dtype.isnative
        np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ((4, 5), (1, 4, 5, 1)),
            ((4, 5, 6), (1, 4, 5, 6)),
            ((4, 5, 6, 1), (1, 4, 5, 6)),
            ((4, 5, 6, 3), (3, 4, 5, 6)),
            ((4, 5, 6, 1, 3), (3, 4, 5, 6)),
            ((4, 5, 6, 3, 1), (3, 4, 5, 6)),
            ((4, 5, 1, 3), (3, 4, 5, 1)),
        ],
    )
    def test_further_axes_become_channels(
        self, tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]
    ) -> None:
        array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
        path = saved(tmp_path, volume(array))
        scan, header = registry.read_scan(path), registry.read_header(path)
        assert scan.array.shape == expected
        assert (header.channels, *header.shape) == expected
        np.testing.assert_array_equal(scan.array, np.moveaxis(array.reshape(*expected[1:], expected[0]), -1, 0))

    def test_a_header_is_read_without_the_voxels(self, tmp_path: Path) -> None:
        path = saved(tmp_path, volume())
        path.write_bytes(path.read_bytes()[:400])
        header = registry.read_header(path)
        assert (header.shape, header.channels) == ((4, 5, 6), 1)
        np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)

    def test_slope_and_intercept_are_applied(self, tmp_path: Path) -> None:
        image = volume()
        image.header.set_slope_inter(0.5, -10)
        scan = registry.read_scan(patched(tmp_path, HEADER_OFFSETS["scl_slope"], "ff", 0.5, -10, image=image))
        assert scan.array.dtype.kind == "f"
        np.testing.assert_array_equal(scan.array[0], VOXELS * 0.5 - 10)

    @pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0, 7), (np.nan, 7), (np.inf, 7)])
    def test_a_slope_that_says_nothing_leaves_the_integers(
        self, tmp_path: Path, slope: float, intercept: float
    ) -> None:
        scan = registry.read_scan(patched(tmp_path, HEADER_OFFSETS["scl_slope"], "ff", slope, intercept))
        np.testing.assert_array_equal(scan.array[0], VOXELS)
        assert scan.array.dtype == np.int16

    @pytest.mark.parametrize(("unit", "mm"), [("meter", 1000.0), ("mm", 1.0), ("micron", 0.001), ("unknown", 1.0)])
    @pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1)])
    def test_the_affine_is_in_mm_whatever_the_unit(
        self, tmp_path: Path, unit: str, mm: float, codes: tuple[int, int]
    ) -> None:
        image = volume(codes=codes)
        image.header.set_xyzt_units(unit, "sec")
        expected = AFFINE * mm
        np.testing.assert_allclose(
            registry.read_scan(saved(tmp_path, image)).affine[:3], expected[:3], rtol=1e-5, atol=1e-8
        )

    @pytest.mark.parametrize("version", [1, 2])
    def test_the_finest_microscopes_have_a_spacing(self, tmp_path: Path, version: int) -> None:
        nanometres = np.diag([4e-6, 4e-6, 3e-5, 1])
        scan = registry.read_scan(saved(tmp_path, volume(affine=nanometres, version=version)))
        np.testing.assert_allclose(scan.spacing_mm, (4e-6, 4e-6, 3e-5), rtol=1e-5)

    @pytest.mark.parametrize(
        ("name", "renamed"),
        [
            pytest.param("a.nii.gz", "b.nii", id="compressed, and named as if not"),
            pytest.param("a.nii", "b.nii.gz", id="not compressed, and named as if so"),
            ("a.nii", "b.img"),
            ("a.nii.gz", "b.hdr"),
            ("a.nii", "b.png"),
            ("a.nii", "b.dcm"),
            ("a.nii.gz", "b"),
        ],
    )
    def test_the_content_decides_where_the_name_lies(self, tmp_path: Path, name: str, renamed: str) -> None:
        path = saved(tmp_path, volume(), name).rename(tmp_path / renamed)
        scan = registry.read_scan(path)
        assert (scan.format, registry.read_header(path).shape) == ("NIfTI", (4, 5, 6))
        np.testing.assert_array_equal(scan.array, VOXELS[None])

    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("suffix", ["", ".gz"])
    @pytest.mark.parametrize("given", ["hdr", "img"])
    def test_a_header_and_its_voxels_are_read_together_whichever_is_given(
        self, tmp_path: Path, version: int, suffix: str, given: str
    ) -> None:
        pair(tmp_path, version, suffix)
        path = tmp_path / f"scan.{given}{suffix}"
        scan, header = registry.read_scan(path), registry.read_header(path)
        np.testing.assert_array_equal(scan.array, VOXELS[None])
        np.testing.assert_allclose(scan.affine, AFFINE, atol=1e-6)
        np.testing.assert_array_equal(header.affine, scan.affine)
        assert registry.mask_ending(scan) == ".nii.gz"


class TestWhichForm:
    def test_the_qform_counts_where_the_sform_is_not_set(self, tmp_path: Path) -> None:
        header = registry.read_header(saved(tmp_path, volume(codes=(2, 0))))
        np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)
        assert header.repairs == ()

    def test_the_qform_counts_where_the_sform_is_all_zeros(self, tmp_path: Path) -> None:
        header = registry.read_header(patched(tmp_path, 280, "12f", *[0] * 12))
        np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)
        assert header.repairs == ("the geometry is that of the qform, since the sform spans no volume",)

    def test_the_qform_counts_where_the_sform_is_flat(self, tmp_path: Path) -> None:
        header = registry.read_header(patched(tmp_path, 280, "12f", 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0))
        np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)

    @pytest.mark.parametrize(("written", "read"), [(4, 4), (99, 2)], ids=["an atlas", "unknown: aligned to something"])
    def test_the_code_of_the_space_is_kept(self, tmp_path: Path, written: int, read: int) -> None:
        path = patched(tmp_path, 254, "h", written)
        nifti.write_mask(tmp_path / "mask.nii", np.zeros((4, 5, 6), np.uint8), registry.read_scan(path))
        assert load(tmp_path / "mask.nii").header["sform_code"] == read

    def test_a_mask_leaves_a_form_unset_that_means_nothing(self, tmp_path: Path) -> None:
        path = patched(tmp_path, HEADER_OFFSETS["pixdim"] + 4, "f", -0.7)  # nibabel would write 0.7, and so a new qform
        nifti.write_mask(tmp_path / "mask.nii", np.zeros((4, 5, 6), np.uint8), registry.read_scan(path))
        header = load(tmp_path / "mask.nii").header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)

    @pytest.mark.parametrize("pixdim", [(1, 0, 0.7, 5), (1, -0.7, 0.7, 5), (1, np.nan, 0.7, 5)])
    def test_the_sform_counts_where_the_qform_has_no_spacing(self, tmp_path: Path, pixdim: tuple[float, ...]) -> None:
        header = registry.read_header(patched(tmp_path, HEADER_OFFSETS["pixdim"], "4f", *pixdim))
        np.testing.assert_allclose(header.affine, AFFINE, atol=1e-6)
        assert header.repairs == ("the geometry is that of the sform, since the qform spans no volume",)

    def test_a_handedness_of_zero_counts_as_one(self, tmp_path: Path) -> None:
        right_handed = volume(affine=np.diag([0.7, 0.7, 5, 1]), codes=(1, 0))
        header = registry.read_header(patched(tmp_path, HEADER_OFFSETS["pixdim"], "f", 0, image=right_handed))
        np.testing.assert_allclose(header.affine, np.diag([0.7, 0.7, 5, 1]), atol=1e-6)

    @pytest.mark.parametrize("degrees", [0, 0.1, 0.9])
    @pytest.mark.parametrize("shift_mm", [0, 40])
    def test_the_sform_counts_where_the_forms_differ_by_a_small_movement(
        self, tmp_path: Path, degrees: float, shift_mm: float
    ) -> None:
        header = registry.read_header(with_forms(tmp_path, turned(degrees, shift_mm=shift_mm), AFFINE))
        np.testing.assert_allclose(header.affine, turned(degrees, shift_mm=shift_mm), atol=1e-5)

    @pytest.mark.parametrize("degrees", [44.4, 45.6])
    def test_forms_that_are_near_each_other_agree_up_to_where_they_would_be_reoriented_differently(
        self, tmp_path: Path, degrees: float
    ) -> None:
        header = registry.read_header(with_forms(tmp_path, turned(degrees - 0.4), turned(degrees + 0.4)))
        np.testing.assert_allclose(header.affine, turned(degrees - 0.4), atol=1e-5)
        with pytest.raises(ScanError, match=r"sform LAS .*, qform PLS .*, axes up to 0\.8 degrees apart"):
            registry.read_header(with_forms(tmp_path, turned(44.6), turned(45.4)))

    @pytest.mark.parametrize(
        ("sform", "message"),
        [
            pytest.param(
                AFFINE @ np.diag([-1.0, 1, 1, 1]),
                r"agree on orientation and spacing; found sform RAS at 0\.7 x 0\.7 x 5 mm, "
                r"qform LAS at 0\.7 x 0\.7 x 5 mm, "
                r"axes up to 180 degrees apart\. Find out which is right and copy it over the other \(fslorient",
                id="left and right swapped",
            ),
            pytest.param(turned(1.1), r"sform LAS .*, qform LAS .*axes up to 1\.1 degrees apart", id="a small turn"),
            pytest.param(turned(30), r"axes up to 30 degrees apart", id="a registration to an atlas"),
            pytest.param(turned(90), r"sform PLS .*, qform LAS .*90 degrees apart", id="a quarter turn"),
            pytest.param(
                turned(0, (1, 1, 1.2)),
                r"sform LAS at 0\.7 x 0\.7 x 6 mm, qform LAS at 0\.7 x 0\.7 x 5 mm",
                id="spacing",
            ),
            pytest.param(turned(0, (1, 1, 1000)), r"sform LAS at 0\.7 x 0\.7 x 5000 mm", id="units"),
        ],
    )
    def test_forms_that_disagree_are_refused(self, tmp_path: Path, sform: NDArray, message: str) -> None:
        with pytest.raises(ScanError, match=message):
            registry.read_header(with_forms(tmp_path, sform, AFFINE))


def _cut(fraction: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        rng = np.random.default_rng(0)  # noise, so that the compressed data is spread over the file
        path = saved(folder, volume(rng.integers(0, 1000, (16, 16, 16), np.int16)), "scan.nii.gz")
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * fraction)])
        return path

    return make


def _cut_bytes(kept: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = saved(folder, volume(), "scan.nii.gz")
        path.write_bytes(path.read_bytes()[:kept])
        return path

    return make


def _flipped_byte(folder: Path) -> Path:
    path = folder / "scan.nii.gz"
    plain = saved(folder, volume()).read_bytes()
    content = bytearray(gzip.compress(plain, compresslevel=0))  # stored, so that the flip reaches the checksum alone
    content[-20] ^= 1
    path.write_bytes(content)
    return path


def _flipped_checksum(folder: Path) -> Path:
    path = saved(folder, volume(), "scan.nii.gz")
    content = bytearray(path.read_bytes())
    content[-6] ^= 1
    path.write_bytes(content)
    return path


def _broken_stream(folder: Path) -> Path:
    path = saved(folder, volume(), "scan.nii.gz")
    content = bytearray(path.read_bytes())
    content[30:40] = b"\xff" * 10
    path.write_bytes(content)
    return path


def _truncated(kept: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = saved(folder, volume())
        path.write_bytes(path.read_bytes()[:kept])
        return path

    return make


def _bytes(name: str, content: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def _renamed(name: str, to: str) -> Callable[[Path], Path]:
    return lambda folder: saved(folder, volume(), name).rename(folder / to)


def _directory(folder: Path) -> Path:
    (folder / "scan.nii").mkdir()
    return folder / "scan.nii"


def _directory_gz(folder: Path) -> Path:
    (folder / "scan.nii.gz").mkdir()
    return folder / "scan.nii.gz"


def _holding(value: float) -> Callable[[Path], Path]:
    array = VOXELS.astype(np.float32)
    array[1, 2, 3] = value
    return lambda folder: saved(folder, volume(array))


def _image(image: nibabel.Nifti1Image, name: str = "scan.nii") -> Callable[[Path], Path]:
    return lambda folder: saved(folder, image, name)


def _patch(name: str, form: str, *values: float) -> Callable[[Path], Path]:
    return lambda folder: patched(folder, HEADER_OFFSETS[name], form, *values)


def _patch_at(offset: int, form: str, *values: float, codes: tuple[int, int] = (1, 1)) -> Callable[[Path], Path]:
    return lambda folder: patched(folder, offset, form, *values, image=volume(codes=codes))


def _qform_only(*pixdim: float) -> Callable[[Path], Path]:
    return lambda folder: patched(folder, HEADER_OFFSETS["pixdim"], "4f", *pixdim, image=volume(codes=(1, 0)))


def _colours(folder: Path) -> Path:
    return saved(folder, volume(np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])))


def _overflowing(folder: Path) -> Path:
    image = volume(VOXELS.astype(np.float64) * 1e300)  # only 0 stays finite
    return patched(folder, HEADER_OFFSETS["scl_slope"], "f", 3e38, image=image)


def _big_claim(folder: Path) -> Path:
    return patched(folder, HEADER_OFFSETS["dim"], "4h", 3, 32767, 32767, 32767)


def _bigger_claim(folder: Path) -> Path:
    return patched(folder, 16, "4q", 3, 2**60, 2**60, 2**60, image=volume(version=2))


def _sheared(folder: Path) -> Path:
    sheared = np.diag([1.0, 1, 1, 1])
    sheared[0, 1] = 0.2
    return saved(folder, volume(affine=sheared, codes=(0, 1)))


def _analyze(folder: Path) -> Path:
    image = nibabel.AnalyzeImage(VOXELS, np.eye(4))
    image.to_filename(folder / "scan.img")
    return (folder / "scan.hdr").rename(folder / "scan.nii")


def _analyze_pair(folder: Path) -> Path:
    nibabel.AnalyzeImage(VOXELS, np.eye(4)).to_filename(folder / "scan.img")
    return folder / "scan.hdr"


def _half(ending: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        pair(folder)
        for other in {".hdr", ".img"} - {ending}:
            (folder / "scan").with_suffix(other).unlink()
        return (folder / "scan").with_suffix(ending)

    return make


def _cut_pair(folder: Path) -> Path:
    voxels = pair(folder).with_suffix(".img")
    voxels.write_bytes(voxels.read_bytes()[:-1])
    return voxels


def _cifti(folder: Path) -> Path:
    image = volume(version=2)
    image.header["intent_code"] = 3002  # dense time series
    return saved(folder, image, "scan.dtseries.nii")


DAMAGED = "Expected a whole file; found compressed data that is damaged or cut off"
NO_SPACING = r"a finite distance above zero between voxels .*found qform and sform that have none \(pixdim "
DIM = r"Expected a header with the sizes of two or more axes; found dim = \["

REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "gzip cut after 1 byte": (_cut_bytes(1), "found 1 byte"),
    "gzip cut in its header": (_cut_bytes(9), DAMAGED),
    "gzip cut behind its header": (_cut_bytes(20), DAMAGED),
    "gzip cut at a third": (_cut(0.33), DAMAGED),
    "gzip cut at nine tenths": (_cut(0.9), DAMAGED),
    "gzip without its last byte": (_cut(0.9999), DAMAGED),
    "gzip with a flipped voxel": (_flipped_byte, DAMAGED),
    "gzip with another checksum": (_flipped_checksum, DAMAGED),
    "gzip of nonsense": (_broken_stream, DAMAGED),
    "cut in the header": (_truncated(200), "Expected a NIfTI file; found 200 bytes"),
    "cut behind the header": (_truncated(352), "Expected 240 bytes of voxels; found 0: the file is cut off"),
    "cut in the voxels": (_truncated(591), "Expected 240 bytes of voxels; found 239: the file is cut off"),
    "empty": (_bytes("scan.nii", b""), "found 0 bytes"),
    "empty .gz": (_bytes("scan.nii.gz", b""), "found 0 bytes"),
    "compressed nothing": (_bytes("scan.nii.gz", gzip.compress(b"")), "found 0 bytes"),
    "text": (_bytes("scan.nii", b"hello, world\n" * 100), "found a file that does not begin with a NIfTI header"),
    "text named .nii.gz": (_bytes("scan.nii.gz", b"hello"), "found 5 bytes"),
    "text without an ending": (_bytes("scan", b"hello" * 100), "found another file"),
    "missing": (lambda folder: folder / "scan.nii", r"found No such file or directory\. Check the path"),
    "missing .gz": (lambda folder: folder / "scan.nii.gz", r"found No such file or directory\. Check the path"),
    "directory": (_directory, "Expected a readable file; found Is a directory"),
    "directory .gz": (_directory_gz, "Expected a readable file; found Is a directory"),
    "NaN": (_holding(np.nan), "Expected finite values; found NaN or infinity in 1 voxel"),
    "more than 32 bits hold": (_image(volume(VOXELS * 1e300)), r"Expected values up to 3e\+38; found \S+e\+30\d\."),
    "infinity": (_holding(-np.inf), "Expected finite values; found NaN or infinity in 1 voxel"),
    "slope that overflows": (_overflowing, "Expected finite values; found NaN or infinity in 119 voxels"),
    "intercept of infinity": (_patch("scl_slope", "ff", 2, np.inf), "Expected a finite scl_inter; found inf"),
    "two more axes": (_image(volume(np.zeros((4, 5, 6, 2, 3), np.uint8))), r"found shape \(4, 5, 6, 2, 3\)\. Save one"),
    "colours": (_colours, r"Expected one intensity a voxel; found colours \(RGB\)"),
    "complex": (_image(volume(VOXELS.astype(np.complex64))), "Expected real intensities; found complex numbers"),
    "form codes below 0": (_patch_at(252, "2h", -1, -7), "found qform and sform codes of 0"),
    "form codes 0": (_image(volume(codes=(0, 0))), "found qform and sform codes of 0, so left and right are unknown"),
    "shear": (_sheared, r"Expected voxel axes at right angles; found two axes at 78\.7 degrees \(shear\)"),
    "spacing 0": (_qform_only(1, 0, 1, 1), NO_SPACING + r"0, 1, 1\)"),
    "spacing negative": (_qform_only(1, -2, 1, 1), NO_SPACING + r"-2, 1, 1\)"),
    "spacing NaN": (_qform_only(1, 1, np.nan, 1), NO_SPACING + r"1, nan, 1\)"),
    "spacing infinite": (_qform_only(1, 1, 1, np.inf), NO_SPACING + r"1, 1, inf\)"),
    "quaternion too long": (_patch_at(256, "3f", 1, 1, 1, codes=(1, 0)), NO_SPACING),
    "sform all zeros and no qform": (_patch_at(280, "12f", *[0] * 12, codes=(0, 1)), NO_SPACING),
    "sform with NaN and no qform": (_patch_at(280, "f", np.nan, codes=(0, 1)), NO_SPACING),
    "unit that does not exist": (
        _patch_at(123, "B", 7),
        "a unit of length that NIfTI defines; found xyzt_units with code 7",
    ),
    "claims 32767 x 32767 x 32767 voxels of 2 bytes": (
        _big_claim,
        "Expected 70362301923326 bytes of voxels; found 240: the file is cut off",
    ),
    "claims more bytes than there are numbers": (_bigger_claim, r"Expected \d{55} bytes of voxels; found 240"),
    "negative size": (_patch("dim", "4h", 3, 4, -5, 6), DIM + "3, 4, -5, 6"),
    "size 0": (_patch("dim", "4h", 3, 4, 0, 6), DIM + "3, 4, 0, 6"),
    "no axes": (_patch("dim", "h", 0), DIM + "0, 4, 5, 6"),
    "one axis": (_patch("dim", "h", 1), DIM + "1, 4, 5, 6"),
    "nine axes": (_patch("dim", "h", 9), DIM + "9, 4, 5, 6"),
    "unknown number type": (_patch("datatype", "h", 77), "a number type that NIfTI defines; found datatype 77"),
    "number type of none": (_patch("datatype", "h", 0), "a number type for the voxels; found datatype 0"),
    "number type of single bits": (_patch("datatype", "h", 1), "a number type for the voxels; found datatype 1"),
    "voxels inside the header": (
        _patch("vox_offset", "f", 0),
        r"begin behind the header's 348 bytes; found vox_offset = 0",
    ),
    "voxels before the file": (_patch("vox_offset", "f", -352), "found vox_offset = -352"),
    "voxels at NaN": (_patch("vox_offset", "f", np.nan), "found vox_offset = nan"),
    "voxels at infinity": (_patch("vox_offset", "f", np.inf), "found vox_offset = inf"),
    "voxels behind the end": (_patch("vox_offset", "f", 1e6), "Expected 240 bytes of voxels; found 0"),
    "CIFTI": (_cifti, "Expected a volume; found a CIFTI file of surfaces or connectivity"),
    "Analyze": (_analyze, r"found the header of Analyze 7\.5, which does not tell left from right"),
    "Analyze in two files": (_analyze_pair, r"found the header of Analyze 7\.5, which does not tell left from right"),
    "a header without its voxels": (
        _half(".hdr"),
        r"its voxels \(\.hdr and \.img, of one name\); found scan\.hdr alone",
    ),
    "voxels without their header": (_half(".img"), r"a header beside the voxels \(\.hdr\); found scan\.img alone"),
    "a pair whose voxels are cut off": (_cut_pair, "Expected 240 bytes of voxels; found 239: the file is cut off"),
}


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_or_odd_file_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(ScanError, match=message):
        registry.read_scan(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_a_file_without_permission_is_refused(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, volume(), name)
    path.chmod(0)
    with pytest.raises(ScanError, match=r"found Permission denied\. Check the path and its permissions"):
        registry.read_scan(path)


class TestMasks:
    @pytest.mark.parametrize(
        ("array", "dtype"),
        [
            (np.array([0, 1, 255], np.int16), np.uint8),
            (np.array([0, 1, 256], np.int32), np.uint16),
            (np.array([0, 65535], np.float64), np.uint16),
            (np.array([0, 1, 2], np.float32), np.uint8),
            (np.array([0, 0.99999997, 2.0000002], np.float64), np.uint8),
            (np.array([0, 0.99999997], np.float32), np.uint8),
            (np.array([0, 1], np.uint32), np.uint8),
        ],
    )
    def test_whole_labels_become_the_smallest_unsigned_type(self, tmp_path: Path, array: NDArray, dtype: type) -> None:
        mask = registry.read_mask(saved(tmp_path, volume(array.reshape(-1, 1, 1))))
        np.testing.assert_array_equal(mask.array.ravel(), np.rint(array))
        assert mask.array.dtype == dtype
        np.testing.assert_allclose(mask.affine, AFFINE, atol=1e-6)

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.array([0, 0.5, 1]), r"Expected whole label values; found fractions such as 0\.5\. Threshold or round"),
            (np.array([0, 1.01]), "found fractions such as 1.01"),
            (np.array([-1, 0, 1]), "Expected label values from 0 to 65535; found values from -1 to 1"),
            (np.array([-1.0, 0, 1]), "found values from -1 to 1"),
            (np.array([0, 65536]), "found values from 0 to 65536"),
            (np.array([0, 1e30]), r"found values from 0 to 1e\+30"),
            (np.array([0, np.nan]), "Expected finite values; found NaN or infinity in 1 voxel"),
        ],
    )
    def test_what_is_no_label_is_refused(self, tmp_path: Path, array: NDArray, message: str) -> None:
        kind = np.int32 if array.dtype.kind == "i" else array.dtype
        path = saved(tmp_path, volume(array.astype(kind).reshape(-1, 1, 1)))
        with pytest.raises(ScanError, match=message):
            registry.read_mask(path)

    def test_a_mask_of_several_channels_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, volume(np.zeros((4, 5, 6, 2), np.uint8)))
        with pytest.raises(ScanError, match="Expected a mask with one label a voxel; found 2 channels"):
            registry.read_mask(path)


FORM_FIELDS = [
    "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z",
    "srow_x", "srow_y", "srow_z", "xyzt_units", "pixdim",
]  # fmt: skip


def named_image(version: int = 1, order: str = "<") -> nibabel.Nifti1Image:
    """A volume whose forms differ a little, with a patient's name in every free field and in an extension."""
    kind = nibabel.Nifti2Image if version == 2 else nibabel.Nifti1Image
    image = kind(VOXELS, None, kind.header_class(endianness=order))
    image.header.set_qform(AFFINE, 1)
    image.header.set_sform(turned(0.5, shift_mm=3), 4)
    image.header.set_xyzt_units("mm", "sec")
    for name in ("descrip", "aux_file", "intent_name"):
        image.header[name] = b"JANE DOE"
    if version == 1:
        image.header["db_name"] = b"JANE DOE"
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"JANE DOE"))
    return image


class TestWritingMasks:
    @pytest.mark.parametrize("version", [1, 2])
    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_a_mask_has_the_forms_of_the_scan_s_own_file(
        self, tmp_path: Path, version: int, order: str, name: str, dtype: type
    ) -> None:
        source = saved(tmp_path, named_image(version, order), "scan.nii.gz")
        mask: NDArray = (VOXELS % 3).astype(dtype)
        nifti.write_mask(tmp_path / "out" / name, mask, registry.read_scan(source))
        written, original = load(tmp_path / "out" / name), load(source)
        np.testing.assert_array_equal(np.asarray(written.dataobj), mask)
        assert written.header.get_data_dtype() == dtype
        assert written.header.get_slope_inter() in {(None, None), (1.0, 0.0)}
        assert type(written) is type(original)
        for field in FORM_FIELDS:
            np.testing.assert_array_equal(written.header[field], original.header[field], field)
        np.testing.assert_array_equal(written.affine, original.affine)

    @pytest.mark.parametrize("version", [1, 2])
    def test_a_mask_carries_no_text_of_the_scan(self, tmp_path: Path, version: int) -> None:
        source = saved(tmp_path, named_image(version))
        assert b"JANE DOE" in source.read_bytes()
        nifti.write_mask(tmp_path / "mask.nii", np.zeros((4, 5, 6), np.uint8), registry.read_scan(source))
        assert b"JANE" not in (tmp_path / "mask.nii").read_bytes()
        assert len(load(tmp_path / "mask.nii").header.extensions) == 0

    @pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6, 3)])
    def test_a_mask_of_an_image_or_of_several_channels_is_a_volume_on_the_same_grid(
        self, tmp_path: Path, shape: tuple[int, ...]
    ) -> None:
        scan = registry.read_scan(saved(tmp_path, volume(np.zeros(shape, np.int16))))
        nifti.write_mask(tmp_path / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan)
        mask = registry.read_mask(tmp_path / "mask.nii.gz")
        assert mask.shape == scan.shape
        np.testing.assert_array_equal(mask.affine, scan.affine)

    def test_a_mask_of_another_format_s_scan_has_its_affine_in_both_forms(self, tmp_path: Path) -> None:
        scan = Scan(VOXELS[None].copy(), turned(20), tmp_path / "scan.mnc", format="MINC")
        nifti.write_mask(tmp_path / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan)
        header = load(tmp_path / "mask.nii.gz").header
        for form, code in (header.get_qform(coded=True), header.get_sform(coded=True)):
            np.testing.assert_allclose(form, scan.affine, atol=1e-4)
            assert code == 1  # the scanner's space
        assert header.get_xyzt_units()[0] == "mm"

    def test_a_mask_of_slightly_sheared_axes_has_no_qform_because_that_holds_none(self, tmp_path: Path) -> None:
        sheared = np.diag([1.0, 1, 1, 1])
        sheared[0, 1] = 0.03  # 1.7 degrees
        scan = Scan(VOXELS[None].copy(), sheared, tmp_path / "scan.mnc", format="MINC")
        nifti.write_mask(tmp_path / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan)
        np.testing.assert_allclose(registry.read_mask(tmp_path / "mask.nii.gz").affine, sheared, atol=1e-6)
        header = load(tmp_path / "mask.nii.gz").header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 1)

    def test_a_mask_with_a_longer_axis_than_nifti_1_can_count_is_nifti_2(self, tmp_path: Path) -> None:
        scan = Scan(np.zeros((1, 32768, 1, 1), np.uint8), np.eye(4), tmp_path / "scan.tif")
        nifti.write_mask(tmp_path / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan)
        assert isinstance(load(tmp_path / "mask.nii.gz"), nibabel.Nifti2Image)
        assert registry.read_mask(tmp_path / "mask.nii.gz").shape == scan.shape

    def test_a_written_mask_is_read_back_onto_the_scan_in_mm_though_its_unit_is_metres(self, tmp_path: Path) -> None:
        image = volume()
        image.header.set_xyzt_units("meter")
        scan = registry.read_scan(saved(tmp_path, image))
        nifti.write_mask(tmp_path / "mask.nii.gz", np.ones(scan.shape, np.uint8), scan)
        np.testing.assert_array_equal(registry.read_mask(tmp_path / "mask.nii.gz").affine, scan.affine)

    def test_a_mask_of_another_shape_is_a_fault_of_the_program(self, tmp_path: Path) -> None:
        scan = registry.read_scan(saved(tmp_path, volume()))
        with pytest.raises(AssertionError, match=r"\(6, 5, 4\), \(4, 5, 6\)"):
            nifti.write_mask(tmp_path / "mask.nii.gz", np.zeros((6, 5, 4), np.uint8), scan)

    def test_a_writer_that_fails_leaves_the_old_file_and_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scan = registry.read_scan(saved(tmp_path, volume()))
        target = tmp_path / "out" / "mask.nii.gz"
        nifti.write_mask(target, np.zeros(scan.shape, np.uint8), scan)
        before = target.read_bytes()

        def full_disk(_: Any, path: Path) -> None:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(nibabel.Nifti1Image, "to_filename", full_disk)
        with pytest.raises(OSError, match="No space left on device"):
            nifti.write_mask(target, np.ones(scan.shape, np.uint8), scan)
        assert [path.name for path in target.parent.iterdir()] == ["mask.nii.gz"]
        assert target.read_bytes() == before

    def test_a_mask_lies_on_the_scan_that_was_read_though_its_file_has_changed_since(self, tmp_path: Path) -> None:
        source = saved(tmp_path, volume(affine=turned(20), codes=(4, 2)))
        scan = pickle.loads(pickle.dumps(registry.read_scan(source)))  # as it comes from another process
        source.write_bytes(b"another")
        nifti.write_mask(tmp_path / "mask.nii.gz", np.zeros(scan.shape, np.uint8), scan)
        np.testing.assert_array_equal(registry.read_mask(tmp_path / "mask.nii.gz").affine, scan.affine)
        header = load(tmp_path / "mask.nii.gz").header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (4, 2)


MUTATIONS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, list[tuple[int, int]]], Path]:
    folder = tmp_path_factory.mktemp("fuzz")
    good = {version: saved(folder, volume(version=version), f"{version}.nii").read_bytes() for version in (1, 2)}

    def write(version: int, mutations: list[tuple[int, int]]) -> Path:
        content = bytearray(good[version])
        header_bytes = {1: 352, 2: 544}[version]
        for place, value in mutations:
            content[place % header_bytes] = value
        (folder / "fuzzed.nii").write_bytes(content)
        return folder / "fuzzed.nii"

    return write


@pytest.mark.parametrize("version", [1, 2])
@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations=MUTATIONS)
def test_a_header_of_any_bytes_is_read_or_refused_in_words(
    fuzzed: Callable[[int, list[tuple[int, int]]], Path], version: int, mutations: list[tuple[int, int]]
) -> None:
    path = fuzzed(version, mutations)
    try:
        scan = registry.read_scan(path)
    except ScanError as error:
        message = str(error)
    else:
        message = ""
        assert np.isfinite(scan.affine).all()
        assert min(scan.spacing_mm) > 0
        assert np.isfinite(scan.array).all()
        nifti.write_mask(path.with_name("mask.nii"), np.zeros(scan.shape, np.uint8), scan)
        np.testing.assert_array_equal(registry.read_mask(path.with_name("mask.nii")).affine, scan.affine)
    assert re.fullmatch(r"(Expected .+; found .+\. .+\.)?", message)


class TestRealFiles:
    def test_one_head_in_48_axis_orders_has_one_content(self, real_data: RealData) -> None:
        paths = sorted((real_data("hostile/nifti_hostile") / "orientations48").glob("*.nii.gz"))
        scans = [registry.read_scan(path) for path in paths]
        assert len({geometry.orientation(scan.affine) for scan in scans}) == len(scans) == 48
        assert len({scan.content_hash() for scan in scans}) == 1
