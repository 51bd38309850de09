"""PNG files are built chunk by chunk, so that every kind of pixel and every fault can be had."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ScanError
from pipeline.formats import image2d, registry
from tests.formats import references
from tests.formats.pngs import built, chunks_of, png

ROWS, COLUMNS = 5, 7
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
RED_GREEN = bytes([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
GREYS = bytes([0, 0, 0, 255, 255, 255, 128, 128, 128, 7, 7, 7])


def samples(bits: int, channels: int = 1) -> NDArray:
    rng = np.random.default_rng(bits * 10 + channels)
    values = rng.integers(0, 2**bits, (ROWS, COLUMNS, channels), dtype=np.uint16)
    return values[..., 0] if channels == 1 else values


def saved(folder: Path, content: bytes) -> Path:
    (folder / "scan.png").write_bytes(content)
    return folder / "scan.png"


def pixels(array: NDArray) -> NDArray:
    """(C, I, J, K) as (rows, columns, C)."""
    return array[..., 0].transpose(2, 1, 0)


class TestReading:
    def test_columns_come_first_and_run_to_the_patient_s_left(self, tmp_path: Path) -> None:
        array = np.zeros((ROWS, COLUMNS), np.uint8)
        array[1, 4] = 9  # second row from the top, fifth column from the left
        scan = registry.read_scan(saved(tmp_path, png(array, 8, GREY)))
        assert (scan.array.shape, scan.array[0, 4, 1, 0]) == ((1, COLUMNS, ROWS, 1), 9)
        np.testing.assert_array_equal(scan.affine, np.diag([-1, -1, 1, 1]))
        assert (scan.unit, scan.spacing_mm, registry.mask_ending(scan)) == ("px", (1, 1, 1), ".png")

    @pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
    def test_grey_values_are_those_that_are_stored(self, tmp_path: Path, bits: int) -> None:
        path = saved(tmp_path, png(samples(bits), bits, GREY))
        scan = registry.read_scan(path)
        np.testing.assert_array_equal(pixels(scan.array)[..., 0], samples(bits))
        assert scan.array.dtype == (np.uint16 if bits == 16 else np.uint8)
        np.testing.assert_array_equal(registry.read_mask(path).array, scan.array)

    @pytest.mark.parametrize("bits", [8, 16])
    def test_colours_are_three_channels(self, tmp_path: Path, bits: int) -> None:
        path = saved(tmp_path, png(samples(bits, 3), bits, RGB))
        scan = registry.read_scan(path)
        np.testing.assert_array_equal(pixels(scan.array), samples(bits, 3))
        np.testing.assert_array_equal(scan.array, references.by_opencv(path)[0])
        assert registry.read_header(path).channels == 3

    @pytest.mark.parametrize("bits", [8, 16])
    @pytest.mark.parametrize(("colour", "channels"), [(GREY_ALPHA, 1), (RGB_ALPHA, 3)])
    def test_alpha_is_dropped_where_all_is_opaque(self, tmp_path: Path, bits: int, colour: int, channels: int) -> None:
        values = samples(bits, channels + 1)
        values[..., -1] = 2**bits - 1
        path = saved(tmp_path, png(values, bits, colour))
        np.testing.assert_array_equal(pixels(registry.read_scan(path).array), values[..., :-1])
        assert registry.read_header(path).channels == channels

    def test_an_interlaced_picture(self, tmp_path: Path) -> None:
        array = samples(8, 3).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(array).save(stream, "PNG")
        chunks = chunks_of(stream.getvalue())
        plain = registry.read_scan(saved(tmp_path, built(chunks)))
        header = bytearray(chunks[0][1])
        header[12] = 1
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        data = b"".join(
            b"\0" + row.tobytes()
            for top, left, down, across in passes
            for row in array[top::down, left::across]
            if row.size
        )
        content = built([(b"IHDR", bytes(header)), (b"IDAT", zlib.compress(data)), (b"IEND", b"")])
        np.testing.assert_array_equal(registry.read_scan(saved(tmp_path, content)).array, plain.array)

    def test_neither_gamma_nor_resolution_changes_anything(self, tmp_path: Path) -> None:
        extra = [(b"gAMA", struct.pack(">I", 100000)), (b"pHYs", struct.pack(">IIB", 2835, 2835, 1))]
        scan = registry.read_scan(saved(tmp_path, png(samples(8), 8, GREY, before=extra)))
        np.testing.assert_array_equal(pixels(scan.array)[..., 0], samples(8))
        assert scan.spacing_mm == (1, 1, 1)

    def test_the_grid_is_known_without_the_pixels(self, tmp_path: Path) -> None:
        path = saved(tmp_path, png(samples(8), 8, GREY)[:40])
        assert registry.read_header(path).shape == (COLUMNS, ROWS, 1)


class TestPalettes:
    @pytest.mark.parametrize("bits", [2, 4, 8])
    def test_a_palette_of_colours_is_expanded_in_scans_and_its_numbers_are_the_labels_of_masks(
        self, tmp_path: Path, bits: int
    ) -> None:
        path = saved(tmp_path, png(samples(2), bits, PALETTE, before=[(b"PLTE", RED_GREEN)]))
        scan, mask = registry.read_scan(path), registry.read_mask(path)
        colours = np.frombuffer(RED_GREEN, np.uint8).reshape(-1, 3)
        np.testing.assert_array_equal(pixels(scan.array), colours[samples(2)])
        np.testing.assert_array_equal(pixels(mask.array)[..., 0], samples(2))
        assert registry.read_header(path).channels == 3

    def test_a_palette_of_greys_is_grey_in_scans_and_masks(self, tmp_path: Path) -> None:
        path = saved(tmp_path, png(samples(2), 2, PALETTE, before=[(b"PLTE", GREYS)]))
        expected = np.array([0, 255, 128, 7])[samples(2)]
        np.testing.assert_array_equal(pixels(registry.read_scan(path).array)[..., 0], expected)
        np.testing.assert_array_equal(pixels(registry.read_mask(path).array)[..., 0], expected)
        assert registry.read_header(path).channels == 1

    @pytest.mark.parametrize("palette", [bytes(12), bytes([0, 0, 0, 255, 0, 0, 255, 0, 0, 1, 1, 1])])
    def test_a_mask_in_whose_palette_labels_look_alike_is_refused(self, tmp_path: Path, palette: bytes) -> None:
        path = saved(tmp_path, png(samples(2), 2, PALETTE, before=[(b"PLTE", palette)]))
        with pytest.raises(ScanError, match="a palette in which labels differ; found two numbers with one colour"):
            registry.read_mask(path)

    def test_colours_that_no_pixel_has_may_be_alike(self, tmp_path: Path) -> None:
        palette = bytes([0, 0, 0, 255, 0, 0, *[0] * 30])
        path = saved(tmp_path, png(samples(1), 4, PALETTE, before=[(b"PLTE", palette)]))
        np.testing.assert_array_equal(pixels(registry.read_mask(path).array)[..., 0], samples(1))

    def test_a_number_that_the_palette_lacks_is_refused(self, tmp_path: Path) -> None:
        path = saved(tmp_path, png(samples(2), 2, PALETTE, before=[(b"PLTE", RED_GREEN[:6])]))
        with pytest.raises(ScanError, match="pixels among the 2 colours of the palette; found number 3"):
            registry.read_scan(path)

    def test_a_transparent_colour_that_is_used_is_refused_and_another_is_not(self, tmp_path: Path) -> None:
        chunks = [(b"PLTE", RED_GREEN), (b"tRNS", bytes([255, 255, 255, 0]))]
        path = saved(tmp_path, png(samples(1), 2, PALETTE, before=chunks))
        np.testing.assert_array_equal(pixels(registry.read_mask(path).array)[..., 0], samples(1))
        path = saved(tmp_path, png(samples(2), 2, PALETTE, before=chunks))
        with pytest.raises(ScanError, match=r"Expected opaque pixels; found \d+ pixels with transparency"):
            registry.read_scan(path)


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()[6:]


def _stream(content: bytes, data: bytes) -> bytes:
    """The same file with other compressed pixels, and right checksums of its chunks."""
    return built([(name, data if name == b"IDAT" else old) for name, old in chunks_of(content)])


PLAIN = png(samples(8), 8, GREY)
DATA = next(data for name, data in chunks_of(PLAIN) if name == b"IDAT")
CLEAR = np.dstack([samples(8), np.full((ROWS, COLUMNS), 255)])
CLEAR[2, 3, 1] = 254
COLOURED = png(samples(2), 2, PALETTE, before=[(b"PLTE", RED_GREEN)])
WRONG_PALETTE = COLOURED.replace(RED_GREEN, bytes([1, *RED_GREEN[1:]]))
DAMAGED = "a whole PNG file; found one that is damaged or cut off"
REFUSED: dict[str, tuple[bytes, str]] = {
    "cut": (PLAIN[: len(PLAIN) * 2 // 3], DAMAGED),
    "cut in its header": (PLAIN[:20], DAMAGED + r" \(no header\)"),
    "a wrong checksum": (PLAIN[:45] + bytes([PLAIN[45] ^ 1]) + PLAIN[46:], DAMAGED),
    "a palette with a wrong checksum": (WRONG_PALETTE, DAMAGED + r" \(the checksum of PLTE\)"),
    "half of the rows, well packed": (_stream(PLAIN, zlib.compress(zlib.decompress(DATA)[:20])), DAMAGED),
    "pixels that end early": (_stream(PLAIN, DATA[: len(DATA) // 2]), DAMAGED),
    "pixels without their checksum": (_stream(PLAIN, DATA[:-4]), DAMAGED),
    "pixels with a wrong checksum": (_stream(PLAIN, DATA[:-1] + bytes([DATA[-1] ^ 1])), DAMAGED),
    "half of the rows of a palette": (
        _stream(png(samples(2), 8, PALETTE, before=[(b"PLTE", RED_GREEN)]), zlib.compress(bytes((COLUMNS + 1) * 2))),
        DAMAGED,
    ),
    "no palette": (png(samples(2), 8, PALETTE), DAMAGED + r" \(no palette\)"),
    "no pixels": (built([each for each in chunks_of(PLAIN) if each[0] != b"IDAT"]), DAMAGED),
    "size 0": (built([(b"IHDR", bytes(8) + PLAIN[24:29]), *chunks_of(PLAIN)[1:]]), "a header that no PNG has"),
    "unknown colours": (built([(b"IHDR", PLAIN[16:25] + b"\5\0\0\0"), *chunks_of(PLAIN)[1:]]), "that no PNG has"),
    "bits that such colours cannot have": (
        built([(b"IHDR", PLAIN[16:24] + b"\4\2\0\0\0"), *chunks_of(PLAIN)[1:]]),
        DAMAGED,
    ),
    "transparency": (
        png(CLEAR, 8, GREY_ALPHA),
        r"opaque pixels; found 1 pixel with transparency\. Flatten it onto the background that is meant",
    ),
    "a transparent grey": (
        png(samples(1), 8, GREY, before=[(b"tRNS", b"\0\1")]),
        r"found \d+ pixels with transparency",
    ),
    "animated": (
        png(samples(8), 8, GREY, before=[(b"acTL", struct.pack(">II", 2, 0))]),
        "a single picture; found an animated PNG",
    ),
    "to be turned, by EXIF before the pixels": (
        png(samples(8), 8, GREY, before=[(b"eXIf", exif(6))]),
        r"turned or mirrored when it is shown \(Orientation 6\)",
    ),
    "to be turned, by EXIF behind the pixels": (png(samples(8), 8, GREY, after=[(b"eXIf", exif(3))]), "Orientation 3"),
    "a bomb": (
        built([(b"IHDR", struct.pack(">IIBBBBB", 2**17, 2**16, 8, 0, 0, 0, 0)), *chunks_of(PLAIN)[1:]]),
        f"a picture of at most {image2d.MAX_PIXELS} pixels; found 131072 x 65536",
    ),
    "a text": (b"hello, world", "a PNG file; found one that begins otherwise"),
    "empty": (b"", "a PNG file; found one that begins otherwise"),
}


@pytest.mark.parametrize(("content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_or_odd_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = saved(tmp_path, content)
    for read in (registry.read_scan, registry.read_mask):
        with pytest.raises(ScanError, match=message):
            read(path)


def test_colours_are_no_mask(tmp_path: Path) -> None:
    path = saved(tmp_path, png(samples(8, 3), 8, RGB))
    with pytest.raises(
        ScanError, match=r"a mask with one label a voxel; found 3 channels\. .* needs a table that gives"
    ):
        registry.read_mask(path)


def test_upright_exif_is_no_obstacle(tmp_path: Path) -> None:
    path = saved(tmp_path, png(samples(8), 8, GREY, before=[(b"eXIf", exif(1))], after=[(b"tEXt", b"Title\0JANE DOE")]))
    scan = registry.read_scan(path)
    np.testing.assert_array_equal(pixels(scan.array)[..., 0], samples(8))
    registry.write_mask(tmp_path / "mask.png", np.ones(scan.shape, np.uint8), scan, labels={"liver": 1})
    assert b"JANE" not in (tmp_path / "mask.png").read_bytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_mask_reads_back_here_and_elsewhere(tmp_path: Path, dtype: type) -> None:
    scan = registry.read_scan(saved(tmp_path, PLAIN))
    mask: NDArray = (np.indices(scan.shape).sum(0) * (1 if dtype is np.uint8 else 900)).astype(dtype)
    registry.write_mask(tmp_path / "mask.png", mask, scan, labels={})
    np.testing.assert_array_equal(registry.read_mask(tmp_path / "mask.png").array[0], mask)
    np.testing.assert_array_equal(references.by_opencv(tmp_path / "mask.png")[0][0], mask)
    with Image.open(tmp_path / "mask.png") as image:
        np.testing.assert_array_equal(np.asarray(image), mask[..., 0].T)


MUTATIONS = st.lists(st.tuples(st.integers(8, 2**16), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("good", [PLAIN, COLOURED], ids=["grey", "palette"])
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations=MUTATIONS)
def test_any_bytes_are_read_as_before_or_refused_in_words(
    tmp_path: Path, good: bytes, mutations: list[tuple[int, int]]
) -> None:
    content = bytearray(good)
    for place, value in mutations:
        content[8 + place % (len(content) - 8)] = value
    expected = registry.read_scan(saved(tmp_path, good)).array
    try:
        array = registry.read_scan(saved(tmp_path, bytes(content))).array
    except ScanError:
        return
    np.testing.assert_array_equal(array, expected)  # checksums find everything but a change of what is passed over
