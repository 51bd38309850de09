"""NRRD files are written by hand, field by field, and read by SimpleITK as well where it reads them rightly."""

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats import registry
from tests.formats import references

VOXELS = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "4 5 6",
    "space directions": "(2,0,0) (0,3,0) (0,0,4)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,-2,3)",
}
LPS_AFFINE = np.array([[-2, 0, 0, -1], [0, -3, 0, 2], [0, 0, 4, 3], [0, 0, 0, 1]], float)
NO_SPACE = "a NRRD whose header relates it to the patient"


def stored(array: NDArray = VOXELS, dtype: str = "<i2") -> bytes:
    return array.astype(dtype).tobytes(order="F")


def written(
    folder: Path,
    data: bytes | None = None,
    *,
    drop: tuple[str, ...] = (),
    name: str = "scan.nrrd",
    lines: str = "",
    **changed: str,
) -> Path:
    """A file with FIELDS but for some that are changed (``_`` for a space) or left out."""
    fields = FIELDS | {key.replace("_", " "): value for key, value in changed.items()}
    text = "".join(f"{key}: {value}\n" for key, value in fields.items() if key not in drop)
    content = f"NRRD0005\n# a comment: no field\n{text}{lines}\n".encode()
    (folder / name).write_bytes(content + (stored() if data is None else data))
    return folder / name


class TestReading:
    @pytest.mark.parametrize(
        ("space", "signs"),
        [
            ("left-posterior-superior", (-1, -1, 1)),
            ("LPS", (-1, -1, 1)),
            ("right-anterior-superior", (1, 1, 1)),
            ("RAS", (1, 1, 1)),
            ("left-anterior-superior", (-1, 1, 1)),
            ("LAS", (-1, 1, 1)),
        ],
    )
    def test_each_space_of_the_patient_is_turned_into_ras(
        self, tmp_path: Path, space: str, signs: tuple[int, int, int]
    ) -> None:
        path = written(tmp_path, space=space)
        scan = registry.read_scan(path)
        expected = np.diag([*signs, 1]) @ [[2, 0, 0, 1], [0, 3, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]]
        np.testing.assert_allclose(scan.affine, expected)
        values, affine = references.by_simpleitk(path)
        np.testing.assert_array_equal(scan.array, values)
        assert affine is not None
        np.testing.assert_allclose(scan.affine, affine)

    @pytest.mark.parametrize(
        ("kind", "dtype"),
        [
            *(("uchar", "u1"), ("int8", "i1"), ("unsigned short int", "u2"), ("uint32_t", "u4"), ("int", "i4")),
            *(("long long int", "i8"), ("uint64", "u8"), ("float", "f4"), ("double", "f8")),
        ],
    )
    @pytest.mark.parametrize("endian", ["little", "big"])
    def test_every_number_type_in_either_byte_order(self, tmp_path: Path, kind: str, dtype: str, endian: str) -> None:
        data = stored(dtype=("<" if endian == "little" else ">") + dtype)
        scan = registry.read_scan(written(tmp_path, data, type=kind, endian=endian))
        np.testing.assert_array_equal(scan.array[0], VOXELS)
        assert (scan.array.dtype, scan.array.dtype.isnative) == (np.dtype(dtype), True)

    @pytest.mark.parametrize(
        ("encoding", "encode"),
        [
            ("raw", bytes),
            ("gzip", gzip.compress),
            ("gz", gzip.compress),
            ("bzip2", bz2.compress),
            ("hex", lambda data: data.hex().encode()),
            ("ascii", lambda _: " ".join(str(value) for value in VOXELS.ravel(order="F")).encode()),
        ],
    )
    def test_every_encoding(self, tmp_path: Path, encoding: str, encode: Callable[[bytes], bytes]) -> None:
        scan = registry.read_scan(written(tmp_path, encode(stored()), encoding=encoding))
        np.testing.assert_array_equal(scan.array[0], VOXELS)

    @pytest.mark.parametrize("name", ["scan.raw", "below/scan.raw.gz"])
    def test_voxels_beside_their_header(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "below").mkdir()
        (tmp_path / name).write_bytes(gzip.compress(stored()) if name.endswith(".gz") else stored())
        encoding = "gzip" if name.endswith(".gz") else "raw"
        path = written(tmp_path, b"", name="scan.nhdr", encoding=encoding, data_file=name)
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)
        assert registry.mask_ending(registry.read_scan(path)) == ".nrrd"

    def test_lines_and_bytes_are_skipped(self, tmp_path: Path) -> None:
        path = written(tmp_path, b"a line\nabc" + stored(), line_skip="1", byte_skip="3")
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)
        path = written(tmp_path, b"of any length" + stored(), byte_skip="-1")
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)

    @pytest.mark.parametrize(
        ("changed", "axis"),
        [
            ({"sizes": "2 2 5 6", "kinds": "vector domain domain domain"}, 0),
            ({"sizes": "2 2 5 6", "kinds": "list domain domain domain"}, 0),
            ({"sizes": "2 5 6 2", "kinds": "domain domain domain list"}, 3),
            ({"sizes": "2 2 5 6", "kinds": "??? space space space"}, 0),
            ({"sizes": "2 2 5 6"}, 0),
        ],
    )
    def test_an_axis_without_a_direction_becomes_the_channels(
        self, tmp_path: Path, changed: dict[str, Any], axis: int
    ) -> None:
        vectors = "(2,0,0) (0,3,0) (0,0,4)"
        directions = f"none {vectors}" if axis == 0 else f"{vectors} none"
        drop = () if "kinds" in changed else ("kinds",)
        path = written(tmp_path, drop=drop, dimension="4", space_directions=directions, **changed)
        sizes = [int(size) for size in changed["sizes"].split()]
        expected = np.moveaxis(VOXELS.reshape(-1, order="F").reshape(sizes, order="F"), axis, 0)
        scan, header = registry.read_scan(path), registry.read_header(path)
        np.testing.assert_array_equal(scan.array, expected)
        np.testing.assert_allclose(scan.affine, LPS_AFFINE)
        assert (header.channels, *header.shape) == scan.array.shape

    def test_time_becomes_the_channels(self, tmp_path: Path) -> None:
        path = written(
            tmp_path,
            dimension="4",
            sizes="2 5 6 2",
            space="left-posterior-superior-time",
            space_directions="(2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,1)",
            space_origin="(1,-2,3,0)",
            kinds="domain domain domain time",
        )
        scan = registry.read_scan(path)
        values, affine = references.by_simpleitk(path)
        np.testing.assert_array_equal(scan.array, values)
        assert affine is not None
        np.testing.assert_allclose(scan.affine, affine)

    def test_what_does_not_bear_on_grid_or_values_is_passed_over(self, tmp_path: Path) -> None:
        path = written(
            tmp_path,
            measurement_frame="(0,1,0) (1,0,0) (0,0,1)",
            centerings="node node node",
            space_units='"mm" "mm" "mm"',
            old_min="0",
            lines="modality:=DWMRI\nname: with a colon:=and a value\n",
        )
        np.testing.assert_allclose(registry.read_scan(path).affine, LPS_AFFINE)

    def test_windows_line_ends_are_understood(self, tmp_path: Path) -> None:
        path = written(tmp_path, b"")
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n") + stored())
        np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)

    def test_a_turned_picture_plane_in_the_patient_is_a_volume_of_one_slice(self, tmp_path: Path) -> None:
        path = written(tmp_path, stored(VOXELS[..., :1]), sizes="4 5 1", space_directions="(0,0,2) (3,0,0) (0,4,0)")
        assert registry.read_scan(path).array.shape == (1, 4, 5, 1)


class TestPictures:
    @pytest.mark.parametrize(
        "changed",
        [
            {"spacings": "2 3"},
            {"kinds": "domain domain"},
            {"space_dimension": "2", "space_directions": "(2,0) (0,3)", "space_origin": "(7,8)"},
        ],
    )
    def test_two_axes_are_a_picture_whose_mask_is_one_in_the_same_place(
        self, tmp_path: Path, changed: dict[str, Any]
    ) -> None:
        drop = tuple(
            {"space", "space directions", "space origin", "kinds"} - {key.replace("_", " ") for key in changed}
        )
        path = written(tmp_path, stored(VOXELS[..., 0]), drop=drop, dimension="2", sizes="4 5", **changed)
        scan = registry.read_scan(path)
        assert (scan.array.shape, scan.unit, scan.spacing_mm) == ((1, 4, 5, 1), "px", (1, 1, 1))
        mask = (VOXELS[..., :1] % 3).astype(np.uint8)
        registry.write_mask(tmp_path / "mask.nrrd", mask, scan, labels={})
        np.testing.assert_array_equal(registry.read_mask(tmp_path / "mask.nrrd").array[0], mask)
        np.testing.assert_array_equal(references.by_simpleitk(tmp_path / "mask.nrrd")[0][0], mask)
        import SimpleITK

        image = SimpleITK.ReadImage(str(tmp_path / "mask.nrrd"))
        spacing, origin = ((2, 3), (7, 8)) if "space_origin" in changed else ((2, 3), (0, 0))
        assert image.GetSpacing() == (spacing if "kinds" not in changed else (1, 1))
        assert image.GetOrigin() == origin

    def test_colours_are_channels(self, tmp_path: Path) -> None:
        colours = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
        path = written(
            tmp_path,
            stored(colours, "u1"),
            drop=("space", "space directions", "space origin"),
            type="uchar",
            sizes="3 4 5",
            kinds="RGB-color domain domain",
        )
        np.testing.assert_array_equal(registry.read_scan(path).array[..., 0], colours)


FLAT: dict[str, Any] = {"dimension": "2", "sizes": "4 5", "kinds": "domain domain", "space_dimension": "2"}
REFUSED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no space": (lambda folder: written(folder, drop=("space",)), NO_SPACE + r".*space: none, so that left and right"),
    "no directions": (lambda folder: written(folder, drop=("space directions",), spacings="2 3 4"), NO_SPACE),
    "nothing": (
        lambda folder: written(folder, drop=("space", "space directions", "space origin", "kinds")),
        NO_SPACE + ".*found space: none",
    ),
    "a scanner's space": (lambda folder: written(folder, space="scanner-xyz"), NO_SPACE + ".*space: scanner-xyz"),
    "no space of anything": (lambda folder: written(folder, space="3D-right-handed"), NO_SPACE),
    "micrometres": (
        lambda folder: written(folder, space_units='"um" "um" "um"'),
        'Expected lengths in mm; found space units: "um"',
    ),
    "shear": (lambda folder: written(folder, space_directions="(2,0,0) (2,3,0) (0,0,4)"), r"degrees \(shear\)"),
    "an axis without length": (
        lambda folder: written(folder, space_directions="(0,0,0) (0,3,0) (0,0,4)"),
        "at most one axis of channels|a picture or a volume|channels that are images",
    ),
    "axes in one line": (
        lambda folder: written(folder, space_directions="(2,0,0) (4,0,0) (0,0,4)"),
        r"two axes at 0\.0 degrees",
    ),
    "infinite": (lambda folder: written(folder, space_directions="(inf,0,0) (0,3,0) (0,0,4)"), "a finite distance"),
    "two directions": (lambda folder: written(folder, space_directions="(2,0,0) (0,3,0)"), "Expected 3 directions"),
    "directions of two numbers": (
        lambda folder: written(folder, space_directions="(2,0) (0,3) (0,4)"),
        "a direction of three numbers for each axis",
    ),
    "complex": (
        lambda folder: written(
            folder,
            dimension="4",
            sizes="2 2 5 6",
            kinds="complex domain domain domain",
            space_directions="none (2,0,0) (0,3,0) (0,0,4)",
        ),
        "channels that are images; found an axis of the kind complex",
    ),
    "RGBA": (
        lambda folder: written(
            folder,
            dimension="4",
            sizes="4 1 5 6",
            kinds="RGBA-color domain domain domain",
            space_directions="none (2,0,0) (0,3,0) (0,0,4)",
        ),
        "found an axis of the kind rgba-color",
    ),
    "tensors": (
        lambda folder: written(
            folder,
            dimension="4",
            sizes="6 4 5 1",
            kinds="3D-symmetric-matrix domain domain domain",
            space_directions="none (2,0,0) (0,3,0) (0,0,4)",
        ),
        "found an axis of the kind 3d-symmetric-matrix",
    ),
    "two axes of channels": (
        lambda folder: written(
            folder,
            dimension="5",
            sizes="2 2 5 3 2",
            kinds="vector domain domain domain list",
            space_directions="none (2,0,0) (0,3,0) (0,0,4) none",
        ),
        "at most one axis of channels or of time; found 2",
    ),
    "four axes in space": (
        lambda folder: written(folder, drop=("space", "space directions", "kinds"), dimension="4", sizes="2 2 5 6"),
        "a picture or a volume",
    ),
    "a turned picture": (
        lambda folder: written(folder, drop=("space",), space_directions="(0,2) (3,0)", space_origin="(0,0)", **FLAT),
        "a picture with the directions 1 0 0 1; found one that is turned or mirrored",
    ),
    "a mirrored picture": (
        lambda folder: written(folder, drop=("space",), space_directions="(-2,0) (0,3)", space_origin="(0,0)", **FLAT),
        "turned or mirrored",
    ),
    "blocks": (lambda folder: written(folder, type="block"), "a number for each voxel; found the NRRD type block"),
    "no endian": (lambda folder: written(folder, drop=("endian",)), 'with "endian"; found none, so that the order of'),
    "odd endian": (lambda folder: written(folder, endian="middle"), "byte order little or big; found middle"),
    "no type": (lambda folder: written(folder, drop=("type",)), 'with "type"; found none'),
    "no encoding": (lambda folder: written(folder, drop=("encoding",)), 'with "encoding"; found none'),
    "unknown encoding": (lambda folder: written(folder, encoding="zstd"), "an encoding among .*; found zstd"),
    "too few sizes": (
        lambda folder: written(folder, sizes="4 5"),
        "a size above 0 for each axis .*; found dimension 3",
    ),
    "size 0": (lambda folder: written(folder, sizes="4 0 6"), "sizes 4 0 6"),
    "negative size": (lambda folder: written(folder, sizes="4 -5 6"), "sizes 4 -5 6"),
    "no number": (lambda folder: written(folder, sizes="4 many 6"), "sizes 4 many 6"),
    "claims more than there is": (
        lambda folder: written(folder, sizes="40000 50000 60000"),
        "Expected 240000000000000 bytes of voxels; found 240: the file is cut off",
    ),
    "raw, cut": (lambda folder: written(folder, stored()[:-1]), "Expected 240 bytes of voxels; found 239"),
    "gzip, cut": (
        lambda folder: written(folder, gzip.compress(stored())[:-20], encoding="gzip"),
        r"a whole NRRD file; found one that is damaged or cut off \(its gzip voxels\)",
    ),
    "gzip, without its length": (
        lambda folder: written(folder, gzip.compress(stored())[:-4], encoding="gzip"),
        "damaged or cut off",
    ),
    "gzip of too little": (
        lambda folder: written(folder, gzip.compress(stored()[:-2]), encoding="gzip"),
        "Expected 240 bytes of voxels; found 238",
    ),
    "bzip2, cut": (lambda folder: written(folder, bz2.compress(stored())[:-9], encoding="bzip2"), "damaged or cut off"),
    "too few numbers": (lambda folder: written(folder, b"1 2 3", encoding="ascii"), "damaged or cut off"),
    "no numbers": (lambda folder: written(folder, b"one two", encoding="ascii"), "damaged or cut off"),
    "half a header": (
        lambda folder: _cut(written(folder), 60),
        r"a whole NRRD file; found one that is damaged or cut off \(its header has no end\)",
    ),
    "missing voxels": (
        lambda folder: written(folder, name="scan.nhdr", data_file="other.raw"),
        r"a header beside its voxels; found no other\.raw there",
    ),
    "voxels elsewhere": (
        lambda folder: written(folder, name="scan.nhdr", data_file="/etc/passwd"),
        "voxels beside their header, or below it; found /etc/passwd",
    ),
    "voxels above": (lambda folder: written(folder, name="scan.nhdr", data_file="../scan.raw"), "or below it"),
    "a list of files": (
        lambda folder: written(folder, name="scan.nhdr", data_file="LIST\na.raw\nb.raw"),
        "one file of voxels; found 'LIST'",
    ),
    "a pattern of files": (
        lambda folder: written(folder, name="scan.nhdr", data_file="a%03d.raw 1 6 1"),
        "one file of voxels",
    ),
    "another file": (lambda folder: _replaced(folder / "scan.nrrd", b"hello"), "a NRRD file; found one that does not"),
    "NaN": (
        lambda folder: written(folder, np.full(120, np.nan, "<f4").tobytes(), type="float"),
        "NaN or infinity in 120 voxels",
    ),
}


def test_more_voxels_than_the_header_says_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"120 bytes of voxels; found 240\. Correct the sizes or the number type"):
        registry.read_scan(written(tmp_path, type="uchar"))


def _cut(path: Path, kept: int) -> Path:
    return _replaced(path, path.read_bytes()[:kept])


def _replaced(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_or_odd_file_is_refused(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(ScanError, match=message):
        registry.read_scan(path)


def test_a_header_in_a_file_of_its_own_needs_no_empty_line(tmp_path: Path) -> None:
    (tmp_path / "scan.raw").write_bytes(stored())
    path = written(tmp_path, b"", name="scan.nhdr", data_file="scan.raw")
    path.write_bytes(path.read_bytes()[:-1])
    np.testing.assert_array_equal(registry.read_scan(path).array[0], VOXELS)


def test_a_mask_carries_the_names_of_its_labels_and_nothing_of_the_scan_s_text(tmp_path: Path) -> None:
    scan = registry.read_scan(written(tmp_path, lines="content: JANE DOE\nDICOM_0010_0010_PatientName:=JANE DOE\n"))
    mask = (VOXELS % 3).astype(np.uint8)
    registry.write_mask(tmp_path / "mask.nrrd", mask, scan, labels={"left\nlung": 1, "tumour": 2})
    header = (tmp_path / "mask.nrrd").read_bytes().split(b"\n\n")[0].decode()
    for line in (
        *("Segment0_ID:=Segment_1", "Segment0_Name:=left lung", "Segment0_LabelValue:=1", "Segment0_Layer:=0"),
        *("Segment1_Name:=tumour", "Segment1_LabelValue:=2", "Segment1_Extent:=0 3 0 4 0 5"),
    ):
        assert line in header.splitlines()
    assert "JANE" not in header
    np.testing.assert_array_equal(references.by_simpleitk(tmp_path / "mask.nrrd")[0][0], mask)


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
    assert np.isfinite(scan.array).all()
    registry.write_mask(tmp_path / "mask.nrrd", np.zeros(scan.shape, np.uint8), scan, labels={})
    np.testing.assert_allclose(registry.read_mask(tmp_path / "mask.nrrd").affine, scan.affine, rtol=1e-6, atol=1e-6)
