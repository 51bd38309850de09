"""MetaImage files are written by hand, line by line, and read by SimpleITK as well where it reads them rightly."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats import registry
from tests.formats import references

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
FIELDS = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 -2 3",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "2 3 4",
    "DimSize": "4 5 6",
    "ElementType": "MET_SHORT",
}
AFFINE = np.array([[-2, 0, 0, -1], [0, -3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]], float)
DAMAGED = "a whole MetaImage file; found one that is damaged or cut off"


def stored(array: NDArray = VOXELS, dtype: str = "<i2") -> bytes:
    return array.astype(dtype).tobytes(order="F")


def written(
    folder: Path,
    data: bytes | None = None,
    *,
    drop: tuple[str, ...] = (),
    name: str = "scan.mha",
    file: str = "LOCAL",
    **changed: str,
) -> Path:
    """A file with FIELDS but for some that are changed or left out."""
    fields = {key: value for key, value in (FIELDS | changed).items() if key not in drop}
    text = "".join(f"{key} = {value}\n" for key, value in fields.items())
    (folder / name).write_bytes(f"{text}ElementDataFile = {file}\n".encode() + (stored() if data is None else data))
    return folder / name


def agrees(path: Path) -> None:
    scan, (values, affine) = registry.read_scan(path), references.by_simpleitk(path)
    assert affine is not None
    np.testing.assert_array_equal(scan.array, values)
    np.testing.assert_allclose(scan.affine, affine)


class TestReading:
    def test_the_axes_are_turned_into_ras(self, tmp_path: Path) -> None:
        scan = registry.read_scan(written(tmp_path))
        np.testing.assert_array_equal(scan.array, VOXELS[None])
        np.testing.assert_allclose(scan.affine, AFFINE)

    @pytest.mark.parametrize(
        "changed",
        [
            pytest.param({}, id="upright"),
            pytest.param({"TransformMatrix": "0 1 0 0 0 1 1 0 0"}, id="axis after axis, not row after row"),
            pytest.param({"TransformMatrix": "0.6 0.8 0 -0.8 0.6 0 0 0 1"}, id="oblique"),
            pytest.param({"ElementSpacing": "-2 3 4"}, id="a spacing below 0 turns its axis round"),
            pytest.param({"HeaderSize": "0"}, id="header size 0"),
        ],
    )
    def test_simpleitk_sees_the_same(self, tmp_path: Path, changed: dict[str, Any]) -> None:
        agrees(written(tmp_path, **changed))

    @pytest.mark.parametrize("name", ["Rotation", "Orientation"])
    def test_older_names_of_the_matrix(self, tmp_path: Path, name: str) -> None:
        named: dict[str, Any] = {name: "0 1 0 1 0 0 0 0 1"}
        agrees(written(tmp_path, drop=("TransformMatrix",), **named))

    @pytest.mark.parametrize("name", ["Position", "Origin"])
    def test_older_names_of_the_offset(self, tmp_path: Path, name: str) -> None:
        named: dict[str, Any] = {name: "1 -2 3"}
        agrees(written(tmp_path, drop=("Offset",), **named))

    @pytest.mark.parametrize(
        ("kind", "dtype"),
        [
            *(("CHAR", "i1"), ("UCHAR", "u1"), ("USHORT", "u2"), ("INT", "i4"), ("ULONG", "u4"), ("LONG", "i4")),
            *(("LONG_LONG", "i8"), ("ULONG_LONG", "u8"), ("FLOAT", "f4"), ("DOUBLE", "f8")),
        ],
    )
    @pytest.mark.parametrize("big", ["BinaryDataByteOrderMSB", "ElementByteOrderMSB", ""])
    def test_every_number_type_in_either_byte_order(self, tmp_path: Path, kind: str, dtype: str, big: str) -> None:
        data = stored(dtype=(">" if big else "<") + dtype)
        drop = ("BinaryDataByteOrderMSB",) if big == "ElementByteOrderMSB" else ()
        order: dict[str, Any] = {big: "True"} if big else {}
        path = written(tmp_path, data, drop=drop, ElementType=f"MET_{kind}", **order)
        agrees(path)
        assert registry.read_scan(path).array.dtype == np.dtype(dtype)

    @pytest.mark.parametrize("compress", [zlib.compress, gzip.compress])
    @pytest.mark.parametrize("stated", [True, False])
    def test_compressed_voxels(self, tmp_path: Path, compress: Callable[[bytes], bytes], stated: bool) -> None:
        data = compress(stored())
        size: dict[str, Any] = {"CompressedDataSize": str(len(data))} if stated else {}
        path = written(tmp_path, data, CompressedData="True", **size)
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)

    @pytest.mark.parametrize(
        ("name", "data", "changed"),
        [
            ("scan.raw", stored(), {}),
            ("scan.zraw", zlib.compress(stored()), {"CompressedData": "True"}),
            ("scan.raw", b"abc" + stored(), {"HeaderSize": "3"}),
            ("scan.raw", b"of any length" + stored(), {"HeaderSize": "-1"}),
        ],
    )
    def test_voxels_beside_their_header(self, tmp_path: Path, name: str, data: bytes, changed: dict[str, Any]) -> None:
        (tmp_path / name).write_bytes(data)
        path = written(tmp_path, b"", name="scan.mhd", file=name, **changed)
        agrees(path)
        assert registry.mask_ending(registry.read_scan(path)) == ".mha"

    def test_numbers_as_text(self, tmp_path: Path) -> None:
        text = " ".join(str(value) for value in VOXELS.ravel(order="F")).encode()
        path = written(tmp_path, text + b"\n", BinaryData="False")
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)

    def test_channels_lie_side_by_side(self, tmp_path: Path) -> None:
        path = written(tmp_path, DimSize="2 5 6", ElementNumberOfChannels="2")
        agrees(path)
        assert registry.read_header(path).channels == 2

    def test_time_becomes_the_channels(self, tmp_path: Path) -> None:
        path = written(
            tmp_path,
            NDims="4",
            DimSize="2 5 6 2",
            TransformMatrix="0 1 0 0 1 0 0 0 0 0 1 0 0 0 0 1",
            Offset="1 -2 3 0",
            ElementSpacing="2 3 4 1.5",
            CenterOfRotation="0 0 0 0",
        )
        agrees(path)
        assert registry.read_scan(path).array.shape == (2, 2, 5, 6)

    def test_a_file_of_windows_is_understood(self, tmp_path: Path) -> None:
        path = written(tmp_path, b"")
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + stored())
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)


def test_a_picture_gets_a_mask_in_the_same_place(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        stored(VOXELS[..., 0]),
        NDims="2",
        DimSize="4 5",
        TransformMatrix="1 0 0 1",
        Offset="7 8",
        ElementSpacing="0.2 0.3",
        CenterOfRotation="0 0",
    )
    scan = registry.read_scan(path)
    assert (scan.array.shape, scan.unit, scan.spacing_mm) == ((1, 4, 5, 1), "px", (1, 1, 1))
    np.testing.assert_array_equal(scan.array, references.by_simpleitk(path)[0])
    mask = (VOXELS[..., :1] % 3).astype(np.uint8)
    registry.write_mask(tmp_path / "mask.mha", mask, scan, labels={"cell": 1})
    image = SimpleITK.ReadImage(str(tmp_path / "mask.mha"))
    assert (image.GetSize(), image.GetSpacing(), image.GetOrigin()) == ((4, 5), (0.2, 0.3), (7, 8))
    np.testing.assert_array_equal(registry.read_mask(tmp_path / "mask.mha").array[0], mask)


def test_a_mask_carries_no_text_of_the_scan(tmp_path: Path) -> None:
    scan = registry.read_scan(written(tmp_path, Comment="JANE DOE", PatientName="JANE DOE", Modality="MET_MOD_MR"))
    registry.write_mask(tmp_path / "mask.mha", np.ones(scan.shape, np.uint8), scan, labels={"liver": 1})
    assert b"JANE" not in (tmp_path / "mask.mha").read_bytes()


FLIPPED = bytearray(zlib.compress(stored(), 0))
FLIPPED[60] ^= 1
PLANE: dict[str, Any] = {"NDims": "2", "DimSize": "4 5", "Offset": "0 0", "ElementSpacing": "1 1"}
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no matrix": (
        lambda folder: written(folder, drop=("TransformMatrix",)),
        "with TransformMatrix; found none, so that left and right are unknown",
    ),
    "no spacing": (
        lambda folder: written(folder, drop=("ElementSpacing",), ElementSize="2 3 4"),
        "with ElementSpacing; found none, so that the size of a voxel is unknown",
    ),
    "micrometres": (lambda folder: written(folder, DistanceUnits="um"), "lengths in mm; found DistanceUnits = um"),
    "a scale of intensities": (
        lambda folder: written(folder, ElementToIntensityFunctionSlope="2"),
        "intensities as they are stored; found a slope of 2 and an offset of 0",
    ),
    "shear": (lambda folder: written(folder, TransformMatrix="1 0 0 0.6 0.8 0 0 0 1"), r"53\.1 degrees \(shear\)"),
    "a matrix that scales": (
        lambda folder: written(folder, TransformMatrix="2 0 0 0 1 0 0 0 1"),
        "directions of length 1, time apart; found TransformMatrix = 2 0 0 0 1 0 0 0 1",
    ),
    "a flat matrix": (lambda folder: written(folder, TransformMatrix="1 0 0 1 0 0 0 0 1"), r"at 0\.0 degrees"),
    "a matrix of zeros": (lambda folder: written(folder, TransformMatrix="0 0 0 0 1 0 0 0 1"), "of length 1"),
    "spacing 0": (lambda folder: written(folder, ElementSpacing="0 3 4"), "a finite distance above zero"),
    "spacing NaN": (lambda folder: written(folder, ElementSpacing="nan 3 4"), "3 numbers for ElementSpacing"),
    "two spacings": (lambda folder: written(folder, ElementSpacing="3 4"), "3 numbers for ElementSpacing .*'3 4'"),
    "words for numbers": (lambda folder: written(folder, Offset="a b c"), "3 numbers for Offset"),
    "time turned into space": (
        lambda folder: written(
            folder,
            NDims="4",
            DimSize="2 5 6 2",
            TransformMatrix="1 0 0 0 0 1 0 0 0 0 0 1 0 0 1 0",
            Offset="0 0 0 0",
            ElementSpacing="1 1 1 1",
        ),
        "time apart",
    ),
    "channels in 4D": (
        lambda folder: written(
            folder,
            NDims="4",
            DimSize="2 5 3 2",
            TransformMatrix="1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1",
            Offset="0 0 0 0",
            ElementSpacing="1 1 1 1",
            ElementNumberOfChannels="2",
        ),
        "found 2 channels in 4D",
    ),
    "a turned picture": (
        lambda folder: written(folder, TransformMatrix="0 1 1 0", **PLANE),
        "one that is turned or mirrored",
    ),
    "five axes": (lambda folder: written(folder, NDims="5"), "2, 3 or 4 axes; found NDims = 5"),
    "no sizes": (lambda folder: written(folder, drop=("DimSize",)), "with DimSize; found none"),
    "size 0": (lambda folder: written(folder, DimSize="4 0 6"), "sizes of at least 1; found DimSize = 4 0 6"),
    "half a voxel": (lambda folder: written(folder, DimSize="4 5.5 6"), "sizes of at least 1"),
    "no type": (lambda folder: written(folder, drop=("ElementType",)), "with ElementType; found none"),
    "unknown type": (lambda folder: written(folder, ElementType="MET_FOO"), "a number type among .*; found MET_FOO"),
    "a tube": (lambda folder: written(folder, ObjectType="Tube"), "an image; found a MetaImage of the type Tube"),
    "claims more than there is": (
        lambda folder: written(folder, DimSize="40000 50000 60000"),
        "Expected 240000000000000 bytes of voxels; found 240: the file is cut off",
    ),
    "cut": (lambda folder: written(folder, stored()[:-1]), "Expected 240 bytes of voxels; found 239"),
    "more than the header says": (
        lambda folder: written(folder, ElementType="MET_CHAR"),
        "120 bytes of .*; found 240",
    ),
    "compressed, cut": (
        lambda folder: written(folder, zlib.compress(stored())[:-30], CompressedData="True"),
        DAMAGED,
    ),
    "compressed, without its checksum": (
        lambda folder: written(folder, zlib.compress(stored())[:-4], CompressedData="True"),
        DAMAGED,
    ),
    "compressed, with a flipped bit": (
        lambda folder: written(folder, bytes(FLIPPED), CompressedData="True"),
        DAMAGED + r" \(its compressed voxels\)",
    ),
    "compressed, too little": (
        lambda folder: written(folder, zlib.compress(stored()[:-40]), CompressedData="True"),
        DAMAGED + r" \(200 of 240 bytes of voxels\)",
    ),
    "compressed, too much": (
        lambda folder: written(folder, zlib.compress(stored() * 100), CompressedData="True"),
        DAMAGED + r" \(241 of 240 bytes of voxels\)",
    ),
    "said to be compressed": (lambda folder: written(folder, CompressedData="True"), DAMAGED),
    "too few numbers": (lambda folder: written(folder, b"1 2 3", BinaryData="False"), DAMAGED),
    "half a header": (
        lambda folder: _cut(written(folder), 60),
        "a MetaImage header that ends with ElementDataFile; found one that is cut off",
    ),
    "another file": (lambda folder: _cut(written(folder), 3), "found no header"),
    "missing voxels": (lambda folder: written(folder, name="a.mhd", file="b.raw"), r"found no b\.raw there"),
    "voxels elsewhere": (lambda folder: written(folder, name="a.mhd", file="/etc/passwd"), "beside their header"),
    "a list of files": (lambda folder: written(folder, name="a.mhd", file="LIST"), "one file of voxels; found 'LIST'"),
    "a pattern of files": (lambda folder: written(folder, name="a.mhd", file="b%02d.raw 1 6 1"), "one file of voxels"),
}


def _cut(path: Path, kept: int) -> Path:
    path.write_bytes(path.read_bytes()[:kept])
    return path


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_or_odd_file_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(ScanError, match=message):
        registry.read_scan(path)


MUTATIONS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(32, 126)), min_size=1, max_size=6)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations=MUTATIONS)
def test_a_header_of_any_characters_is_read_or_refused_in_words(
    tmp_path: Path, mutations: list[tuple[int, int]]
) -> None:
    path = written(tmp_path)
    content = bytearray(path.read_bytes())
    for place, value in mutations:
        content[place % (len(content) - 240)] = value
    path.write_bytes(content)
    try:
        scan = registry.read_scan(path)
    except ScanError:
        return
    assert np.isfinite(scan.affine).all()
    registry.write_mask(tmp_path / "mask.mha", np.zeros(scan.shape, np.uint8), scan, labels={})
    np.testing.assert_allclose(registry.read_mask(tmp_path / "mask.mha").affine, scan.affine, rtol=1e-6, atol=1e-6)


def test_a_header_by_hand_may_have_empty_lines_and_none_at_its_end(tmp_path: Path) -> None:
    path = written(tmp_path, b"", name="a.mhd", file="a.raw")
    path.write_bytes(path.read_bytes().replace(b"NDims", b"\n  \nNDims").rstrip())
    (tmp_path / "a.raw").write_bytes(stored())
    agrees(path)
