"""TIFF files are made with tifffile and Pillow, and then damaged."""

import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ScanError
from pipeline.formats import image2d, registry
from tests.formats import references

ROWS, COLUMNS, PAGES = 30, 20, 4
RNG = np.random.default_rng(0)
GREY = np.cumsum(RNG.integers(0, 3, (ROWS, COLUMNS)), axis=1).astype(np.uint8)
COLOURS = RNG.integers(0, 256, (ROWS, COLUMNS, 3), np.uint8)
STACK = RNG.integers(0, 2**16, (PAGES, ROWS, COLUMNS), np.uint16)
DAMAGED = "a whole TIFF file; found one that is damaged or cut off"


def tiff(array: NDArray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **({"metadata": None} | options))
    return stream.getvalue()


def several(*pages: tuple[NDArray, dict[str, Any]]) -> bytes:
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        for array, options in pages:
            writer.write(array, **({"metadata": None} | options))
    return stream.getvalue()


def by_pillow(array: NDArray, mode: str | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(stream, "TIFF", **options)
    return stream.getvalue()


def saved(folder: Path, content: bytes) -> Path:
    (folder / "scan.tif").write_bytes(content)
    return folder / "scan.tif"


def pixels(array: NDArray) -> NDArray:
    """(C, I, J, K) as (rows, columns, C)."""
    return array[..., 0].transpose(2, 1, 0)


def with_tag(content: bytes, name: str, change: Callable[[Any], Any]) -> bytes:
    """The same file with another value of a tag of its first page."""
    stream = io.BytesIO(content)
    with tifffile.TiffFile(stream, mode="r+") as file:
        tag = file.pages.first.tags[name]
        tag.overwrite(change(tag.value))
    return stream.getvalue()


def fewer_pieces(content: bytes) -> bytes:
    """The same file, of which the last strip or tile is not listed any more."""
    changed = bytearray(content)
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        for tag in file.pages.first.tags.values():
            if tag.name in {"StripOffsets", "StripByteCounts", "TileOffsets", "TileByteCounts"}:
                changed[tag.offset + 4 : tag.offset + 8] = struct.pack("<I", tag.count - 1)
    return bytes(changed)


class TestReading:
    @pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "f4", "f8"])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_every_number_type_in_either_byte_order(self, tmp_path: Path, dtype: str, order: str) -> None:
        path = saved(tmp_path, tiff(GREY.astype(order + dtype), byteorder=order, photometric="minisblack"))
        scan = registry.read_scan(path)
        np.testing.assert_array_equal(pixels(scan.array)[..., 0], GREY)
        assert (scan.array.dtype, scan.array.dtype.isnative) == (np.dtype(dtype), True)
        assert (scan.unit, registry.mask_ending(scan)) == ("px", ".tif")
        np.testing.assert_array_equal(scan.affine, np.diag([-1, -1, 1, 1]))

    def test_half_numbers_become_numbers_that_can_be_computed_with(self, tmp_path: Path) -> None:
        scan = registry.read_scan(saved(tmp_path, tiff(GREY.astype("f2"), photometric="minisblack")))
        np.testing.assert_array_equal(pixels(scan.array)[..., 0], GREY)
        assert scan.array.dtype == np.float32

    @pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "lzma", "zstd", "jpeg"])
    @pytest.mark.parametrize("rows", [None, 7])
    @pytest.mark.parametrize("big", [False, True])
    def test_every_compression(self, tmp_path: Path, compression: str | None, rows: int | None, big: bool) -> None:
        options = {"compression": compression, "rowsperstrip": rows, "bigtiff": big}
        path = saved(tmp_path, tiff(GREY, photometric="minisblack", **options))
        array = pixels(registry.read_scan(path).array)[..., 0]
        if compression == "jpeg":
            assert np.abs(array.astype(int) - GREY).max() < 20
        else:
            np.testing.assert_array_equal(array, GREY)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("planar", [False, True])
    def test_colours_are_channels_however_they_lie(self, tmp_path: Path, dtype: type, planar: bool) -> None:
        array: NDArray = COLOURS.astype(dtype) * (1 if dtype is np.uint8 else 257)
        content = (
            tiff(np.moveaxis(array, -1, 0).copy(), photometric="rgb", planarconfig="separate")
            if planar
            else tiff(array, photometric="rgb")
        )
        scan = registry.read_scan(saved(tmp_path, content))
        np.testing.assert_array_equal(pixels(scan.array), array)
        assert registry.read_header(tmp_path / "scan.tif").channels == 3

    def test_colours_in_jpeg_are_what_another_reader_sees(self, tmp_path: Path) -> None:
        path = saved(tmp_path, by_pillow(np.repeat(GREY[..., None], 3, -1) + np.uint8(9), compression="jpeg"))
        np.testing.assert_array_equal(registry.read_scan(path).array, references.by_opencv(path)[0])

    @pytest.mark.parametrize("sample", ["unassalpha", "assocalpha", "unspecified"])
    def test_alpha_is_dropped_where_all_is_opaque_and_refused_elsewhere(self, tmp_path: Path, sample: str) -> None:
        clear = np.full((ROWS, COLUMNS), 255, np.uint8)
        content = tiff(np.dstack([COLOURS, clear]), photometric="rgb", extrasamples=[sample])
        np.testing.assert_array_equal(pixels(registry.read_scan(saved(tmp_path, content)).array), COLOURS)
        clear[3, 4] = 0
        content = tiff(np.dstack([COLOURS, clear]), photometric="rgb", extrasamples=[sample])
        with pytest.raises(ScanError, match="Expected opaque pixels; found 1 pixel with transparency"):
            registry.read_scan(saved(tmp_path, content))

    def test_alpha_of_grey_is_dropped_and_unnamed_samples_are_channels(self, tmp_path: Path) -> None:
        two = np.dstack([GREY, np.full_like(GREY, 255)])
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        content = tiff(two, extrasamples=["unassalpha"], **options)
        assert registry.read_scan(saved(tmp_path, content)).channels == 1
        content = tiff(np.dstack([COLOURS, COLOURS[..., :2]]), **options)
        np.testing.assert_array_equal(
            pixels(registry.read_scan(saved(tmp_path, content)).array), np.dstack([COLOURS, COLOURS[..., :2]])
        )

    def test_where_0_is_white_a_scan_is_turned_round_and_a_mask_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, tiff(GREY, photometric="miniswhite"))
        np.testing.assert_array_equal(pixels(registry.read_scan(path).array)[..., 0], 255 - GREY)
        np.testing.assert_array_equal(np.asarray(Image.open(path)), 255 - GREY)
        with pytest.raises(ScanError, match=r"a mask in which 0 is black .*; found MinIsWhite"):
            registry.read_mask(path)

    @pytest.mark.parametrize("options", [{}, {"compression": "group4"}])
    def test_single_bits_are_0_and_1(self, tmp_path: Path, options: dict[str, Any]) -> None:
        path = saved(tmp_path, by_pillow(GREY > 9, "1", **options))
        for read in (registry.read_scan, registry.read_mask):
            np.testing.assert_array_equal(pixels(read(path).array)[..., 0], GREY > 9)

    @pytest.mark.parametrize("factor", [257, 256, 1])
    def test_a_palette_is_expanded_in_scans_and_its_numbers_are_the_labels_of_masks(
        self, tmp_path: Path, factor: int
    ) -> None:
        colours = np.zeros((3, 256), np.uint16)
        colours[0, 1:60], colours[1, :60] = 3 * factor, np.arange(60) * factor
        path = saved(tmp_path, tiff(GREY, photometric="palette", colormap=colours))
        scan = registry.read_scan(path)
        np.testing.assert_array_equal(pixels(scan.array), colours.T[GREY] // (factor if factor > 1 else 1))
        assert scan.array.dtype == (np.uint8 if factor > 1 else np.uint16)
        np.testing.assert_array_equal(pixels(registry.read_mask(path).array)[..., 0], GREY)

    def test_the_resolution_for_print_is_no_spacing(self, tmp_path: Path) -> None:
        path = saved(tmp_path, tiff(GREY, photometric="minisblack", resolution=(72, 72), resolutionunit="inch"))
        assert registry.read_scan(path).spacing_mm == (1, 1, 1)

    def test_the_content_decides_where_the_name_lies_but_for_slide_scanners(self, tmp_path: Path) -> None:
        path = saved(tmp_path, tiff(GREY, photometric="minisblack"))
        assert registry.read_scan(path.rename(tmp_path / "scan.jpg")).format == "TIFF"
        path = saved(tmp_path, tiff(GREY, photometric="minisblack")).rename(tmp_path / "slide.svs")
        with pytest.raises(ScanError, match="found a slide scanner's own format"):
            registry.read_scan(path)


class TestStacks:
    @pytest.mark.parametrize(
        "content",
        [
            pytest.param(tiff(STACK, photometric="minisblack"), id="plain pages"),
            pytest.param(tiff(STACK, photometric="minisblack", compression="zlib"), id="compressed"),
            pytest.param(tiff(STACK, photometric="minisblack", metadata={}), id="tifffile's own"),
            pytest.param(tiff(STACK, imagej=True, metadata={"axes": "ZYX", "spacing": 3}), id="ImageJ"),
            pytest.param(tiff(STACK, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}), id="OME"),
            pytest.param(tiff(STACK, bigtiff=True, photometric="minisblack"), id="BigTIFF"),
        ],
    )
    def test_pages_are_the_third_axis(self, tmp_path: Path, content: bytes) -> None:
        path = saved(tmp_path, content)
        scan, header = registry.read_scan(path), registry.read_header(path)
        np.testing.assert_array_equal(scan.array[0], STACK.transpose(2, 1, 0))
        assert (header.shape, header.channels, scan.unit) == ((COLUMNS, ROWS, PAGES), 1, "px")

    def test_pages_of_colours(self, tmp_path: Path) -> None:
        pages = np.stack([COLOURS, 255 - COLOURS])
        scan = registry.read_scan(saved(tmp_path, tiff(pages, photometric="rgb")))
        np.testing.assert_array_equal(scan.array, pages.transpose(3, 2, 1, 0))

    def test_channels_of_imagej_are_channels(self, tmp_path: Path) -> None:
        path = saved(tmp_path, tiff(np.stack([STACK, STACK[::-1]], 1), imagej=True, metadata={"axes": "ZCYX"}))
        scan = registry.read_scan(path)
        np.testing.assert_array_equal(scan.array, np.stack([STACK, STACK[::-1]]).transpose(0, 3, 2, 1))

    def test_a_thumbnail_is_no_page(self, tmp_path: Path) -> None:
        content = several((GREY, {}), (GREY[::2, ::2].copy(), {"subfiletype": 1}))
        np.testing.assert_array_equal(pixels(registry.read_scan(saved(tmp_path, content)).array)[..., 0], GREY)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    def test_the_mask_of_a_stack_is_one_and_reads_back_here_and_elsewhere(self, tmp_path: Path, dtype: type) -> None:
        scan = registry.read_scan(saved(tmp_path, tiff(STACK, photometric="minisblack")))
        mask: NDArray = (np.indices(scan.shape).sum(0) * (1 if dtype is np.uint8 else 900)).astype(dtype)
        registry.write_mask(tmp_path / "mask.tif", mask, scan, labels={"liver": 1})
        own = registry.read_mask(tmp_path / "mask.tif")
        np.testing.assert_array_equal(own.array[0], mask)
        with Image.open(tmp_path / "mask.tif") as image:
            assert getattr(image, "n_frames", 1) == PAGES
            for page in range(PAGES):
                image.seek(page)
                np.testing.assert_array_equal(np.asarray(image), mask[..., page].T)

    @pytest.mark.parametrize("pages", [1, 3])
    def test_a_mask_of_two_or_three_pixels_keeps_its_axes(self, tmp_path: Path, pages: int) -> None:
        scan = registry.read_scan(
            saved(tmp_path, tiff(np.zeros((pages, 1, 3), np.uint8), photometric="minisblack", metadata=None))
        )
        assert scan.shape == (3, 1, pages)
        mask = np.arange(3 * pages, dtype=np.uint8).reshape(3, 1, pages)
        registry.write_mask(tmp_path / "mask.tif", mask, scan, labels={})
        np.testing.assert_array_equal(registry.read_mask(tmp_path / "mask.tif").array[0], mask)

    def test_a_mask_carries_no_text_of_the_scan(self, tmp_path: Path) -> None:
        path = saved(tmp_path, tiff(GREY, photometric="minisblack", description="JANE DOE", software="JANE"))
        scan = registry.read_scan(path)
        registry.write_mask(tmp_path / "mask.tif", np.ones(scan.shape, np.uint8), scan, labels={})
        assert b"JANE" not in (tmp_path / "mask.tif").read_bytes()


PLAIN = tiff(GREY, photometric="minisblack")
JPEG = tiff(GREY, photometric="minisblack", compression="jpeg")
PAGES_FILE = tiff(STACK, photometric="minisblack", compression="zlib")
REFUSED: dict[str, tuple[bytes, str]] = {
    "pages of two sizes": (
        several((GREY, {}), (GREY[:10].copy(), {})),
        "pages of one size and kind, in one file; found 1 of 30 x 20, 1 of 10 x 20",
    ),
    "pages of two types": (several((GREY, {}), (GREY.astype("u2"), {})), "pages of one size and kind"),
    "a mask of transparency": (
        with_tag(several((GREY, {"subfiletype": 2})), "NewSubfileType", lambda _: 4),
        "pages of one size and kind",
    ),
    "a film": (
        tiff(STACK, imagej=True, metadata={"axes": "TYX"}),
        "a picture or a stack of them, in grey or RGB; found the axes T 4, Y 30, X 20",
    ),
    "a film of stacks": (
        tiff(STACK.reshape(2, 2, ROWS, COLUMNS), imagej=True, metadata={"axes": "TZYX"}),
        "the axes T 2, Z 2, Y 30, X 20",
    ),
    "two axes of unknown meaning": (
        tiff(STACK.reshape(2, 2, ROWS, COLUMNS), metadata={}, photometric="minisblack"),
        "the axes Q 2, Q 2, Y 30, X 20",
    ),
    "two axes of colour": (
        tiff(np.stack([COLOURS] * 2), imagej=True, photometric="rgb", metadata={"axes": "CYXS"}),
        "the axes C 2, Y 30, X 20, S 3",
    ),
    "channels with a palette": (
        with_tag(
            tiff(STACK.astype("u1"), imagej=True, metadata={"axes": "CYX"}, photometric="minisblack"),
            "PhotometricInterpretation",
            lambda _: 3,
        ),
        r"found other colours \(PALETTE\)",
    ),
    "inks": (by_pillow(COLOURS, "CMYK"), r"grey values, or red, green and blue; found other colours \(SEPARATED\)"),
    "other colours": (by_pillow(COLOURS, "LAB"), r"found other colours \(\w*LAB\)"),
    "more than alpha": (
        tiff(np.dstack([COLOURS, COLOURS[..., :2]]), photometric="rgb", extrasamples=["unspecified"] * 2),
        "red, green and blue; found 2 samples more",
    ),
    "complex": (tiff(GREY.astype("c8"), photometric="minisblack"), "found values of the type complex64"),
    "to be turned": (
        tiff(GREY, photometric="minisblack", extratags=[(274, 3, 1, 8, True)]),
        r"turned or mirrored when it is shown \(Orientation 8\)",
    ),
    "NaN": (tiff(np.full((3, 4), np.nan, "f4"), photometric="minisblack"), "NaN or infinity in 12 voxels"),
    "a bomb": (
        with_tag(with_tag(PLAIN, "ImageWidth", lambda _: 2**17), "ImageLength", lambda _: 2**16),
        f"a picture of at most {image2d.MAX_PIXELS} pixels; found 131072 x 65536|" + DAMAGED,
    ),
    "strips that are not listed": (fewer_pieces(tiff(GREY, photometric="minisblack", rowsperstrip=1)), DAMAGED),
    "tiles that are not listed": (
        fewer_pieces(tiff(np.zeros((32, 48), np.uint8), photometric="minisblack", tile=(16, 16), compression="zlib")),
        r"6 pieces of a page",
    ),
    "a strip that is missing": (with_tag(PLAIN, "StripByteCounts", lambda _: 0), DAMAGED),
    "a strip elsewhere": (with_tag(PLAIN, "StripOffsets", lambda _: 10**6), DAMAGED),
    "pixels that are cut off": (PLAIN[:-40], DAMAGED),
    "a stack whose last page is cut off": (PAGES_FILE[:-40], DAMAGED),
    "a stack whose last pages are missing": (PAGES_FILE[: len(PAGES_FILE) // 2], DAMAGED),
    "half a header": (PLAIN[:6], DAMAGED),
    "pages in a circle": (b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, 256, 3, 1, 4, 8), DAMAGED),
    "no page": (b"II*\0\0\0\0\0", DAMAGED + r"|found none"),
    "another file": (b"hello, world", DAMAGED),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_or_odd_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(ScanError, match=message):
        registry.read_scan(path)


@pytest.mark.parametrize("compression", ["zlib", "lzw", "packbits", "lzma", "zstd", "jpeg"])
@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
def test_a_strip_that_ends_early_is_refused(tmp_path: Path, compression: str, left: float) -> None:
    content = tiff(GREY, photometric="minisblack", compression=compression)
    shortened = with_tag(content, "StripByteCounts", lambda count: int(np.ravel(count)[0] * left))
    with pytest.raises(ScanError, match=DAMAGED):
        registry.read_scan(saved(tmp_path, shortened))


MUTATIONS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=4)


@settings(
    max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations=MUTATIONS)
def test_a_file_of_any_bytes_is_read_or_refused_in_words(tmp_path: Path, mutations: list[tuple[int, int]]) -> None:
    content = bytearray(PAGES_FILE)
    for place, value in mutations:
        content[place % 250] = value  # the header and the first page's directory
    path = saved(tmp_path, bytes(content))
    try:
        scan = registry.read_scan(path)
    except ScanError:
        return
    assert scan.unit == "px"
