"""JPEG, GIF and BMP, made with Pillow and then damaged."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ScanError
from pipeline.formats import image2d, registry
from tests.conftest import RealData
from tests.formats import references

ROWS, COLUMNS = 40, 60
RNG = np.random.default_rng(0)
GREY = np.cumsum(RNG.integers(0, 4, (ROWS, COLUMNS)), axis=1).astype(np.uint8)
COLOURS = np.stack([GREY, GREY[::-1], 255 - GREY], -1)
FOUR = RNG.integers(0, 4, (ROWS, COLUMNS), np.uint8)
ENDINGS = {"JPEG": "jpg", "GIF": "gif", "BMP": "bmp"}
COLOURFUL, GREYS = [0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255], [9, 9, 9, 255, 255, 255, 0, 0, 0, 100, 100, 100]


def encoded(array: NDArray, name: str, mode: str | None = None, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(stream, name, **options)
    return stream.getvalue()


def with_palette(array: NDArray, palette: list[int], name: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    image.putpalette(palette)
    image.save(stream, name, **options)
    return stream.getvalue()


def saved(folder: Path, content: bytes, name: str) -> Path:
    path = folder / f"scan.{ENDINGS[name]}"
    path.write_bytes(content)
    return path


def pixels(array: NDArray) -> NDArray:
    """(C, I, J, K) as (rows, columns, C)."""
    return array[..., 0].transpose(2, 1, 0)


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("array", [GREY, COLOURS], ids=["grey", "colours"])
def test_a_picture_is_what_another_reader_sees(tmp_path: Path, name: str, array: NDArray) -> None:
    if name == "GIF" and array.ndim == 3:
        array = array // 128 * 255  # eight colours, which a palette holds
    path = saved(tmp_path, encoded(array, name), name)
    scan, header = registry.read_scan(path), registry.read_header(path)
    np.testing.assert_array_equal(scan.array, references.by_opencv(path)[0][: scan.channels])
    assert (header.channels, *header.shape) == scan.array.shape
    assert scan.array.shape == (3 if array.ndim == 3 else 1, COLUMNS, ROWS, 1)
    assert (scan.unit, scan.format, registry.mask_ending(scan)) == ("px", name, ".png")
    if name != "JPEG":
        np.testing.assert_array_equal(np.squeeze(pixels(scan.array)), array)


@pytest.mark.parametrize("options", [{"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"dpi": (72, 72)}])
def test_every_kind_of_jpeg(tmp_path: Path, options: dict[str, Any]) -> None:
    path = saved(tmp_path, encoded(COLOURS, "JPEG", quality=95, **options), "JPEG")
    scan = registry.read_scan(path)
    np.testing.assert_array_equal(scan.array, references.by_opencv(path)[0])
    assert scan.spacing_mm == (1, 1, 1)


@pytest.mark.parametrize("name", ["GIF", "BMP"])
def test_a_palette_of_colours_is_expanded_in_scans_and_its_numbers_are_the_labels_of_masks(
    tmp_path: Path, name: str
) -> None:
    path = saved(tmp_path, with_palette(FOUR, COLOURFUL, name), name)
    scan, mask = registry.read_scan(path), registry.read_mask(path)
    np.testing.assert_array_equal(pixels(scan.array), np.array(COLOURFUL).reshape(-1, 3)[FOUR])
    np.testing.assert_array_equal(pixels(mask.array)[..., 0], FOUR)
    assert registry.read_header(path).channels == 3


@pytest.mark.parametrize("name", ["GIF", "BMP"])
def test_a_palette_of_greys_is_grey_in_scans_and_masks(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, with_palette(FOUR, GREYS, name), name)
    expected = np.array(GREYS[::3])[FOUR]
    np.testing.assert_array_equal(pixels(registry.read_scan(path).array)[..., 0], expected)
    np.testing.assert_array_equal(pixels(registry.read_mask(path).array)[..., 0], expected)
    assert registry.read_header(path).channels == 1


@pytest.mark.parametrize("interlace", [0, 1])
def test_rows_of_a_gif_come_in_order(tmp_path: Path, interlace: int) -> None:
    path = saved(tmp_path, encoded(GREY, "GIF", interlace=interlace), "GIF")
    np.testing.assert_array_equal(pixels(registry.read_scan(path).array)[..., 0], GREY)


def test_a_bmp_of_single_bits_is_0_and_1(tmp_path: Path) -> None:
    path = saved(tmp_path, encoded(GREY > 60, "BMP", "1"), "BMP")
    np.testing.assert_array_equal(pixels(registry.read_mask(path).array)[..., 0] > 0, GREY > 60)


def test_the_content_decides_where_the_name_lies(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    for name in ENDINGS:
        path.write_bytes(encoded(GREY, name))
        assert registry.read_scan(path).format == name


def _exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def _animated() -> bytes:
    stream = io.BytesIO()
    frames = [Image.fromarray(FOUR), Image.fromarray(3 - FOUR)]
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return stream.getvalue()


def _two_in_one() -> bytes:
    stream = io.BytesIO()
    frames = [Image.fromarray(COLOURS), Image.fromarray(255 - COLOURS)]
    frames[0].save(stream, "MPO", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _claiming(content: bytes, columns: int, rows: int) -> bytes:
    """A BMP whose header has another size."""
    return content[:18] + columns.to_bytes(4, "little") + rows.to_bytes(4, "little") + content[26:]


def _smaller_frame(content: bytes) -> bytes:
    """A GIF whose screen is larger than its frame."""
    return content[:6] + (COLUMNS + 3).to_bytes(2, "little") + content[8:]


BMP = encoded(COLOURS, "BMP")
REFUSED: dict[str, tuple[str, bytes, str]] = {
    "a JPEG to be turned": (
        "JPEG",
        encoded(COLOURS, "JPEG", exif=_exif(6)),
        r"stored upright; found a picture that is turned or mirrored when it is shown \(Orientation 6\)",
    ),
    "a JPEG of inks": ("JPEG", encoded(COLOURS, "JPEG", "CMYK"), r"found other colours \(CMYK\)"),
    "two JPEGs in one": ("JPEG", _two_in_one(), "a single picture; found 2 frames"),
    "a film": ("GIF", _animated(), r"a single picture; found 2 frames\. Save the frame that is meant"),
    "a GIF with transparency": ("GIF", with_palette(FOUR, COLOURFUL, "GIF", transparency=2), "with transparency"),
    "a GIF with a border": (
        "GIF",
        _smaller_frame(with_palette(FOUR, COLOURFUL, "GIF")),
        "a frame that fills the picture; found one that leaves a border",
    ),
    "a bomb": (
        "BMP",
        _claiming(BMP, 2**15, 2**14),
        f"a picture of at most {image2d.MAX_PIXELS} pixels; found Image size .* exceeds limit",
    ),
    "a larger bomb": ("BMP", _claiming(BMP, 2**17, 2**16), f"at most {image2d.MAX_PIXELS} pixels"),
    "a JPEG without its end": ("JPEG", encoded(COLOURS, "JPEG")[:-2], "a whole JPEG file"),
    "no JPEG": ("JPEG", b"hello, world", "a whole JPEG file; found one that is damaged"),
    "no GIF": ("GIF", b"hello, world", "a whole GIF file; found one that is damaged"),
    "no BMP": ("BMP", b"hello, world", "a whole BMP file; found one that is damaged"),
}


@pytest.mark.parametrize(("name", "content", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_damaged_or_odd_file_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = saved(tmp_path, content, name)
    with pytest.raises(ScanError, match=message):
        registry.read_scan(path)


@pytest.mark.parametrize("name", ENDINGS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 0.97])
def test_a_file_that_is_cut_off_is_refused_and_never_half_grey(tmp_path: Path, name: str, share: float) -> None:
    content = encoded(RNG.integers(0, 256, (ROWS, COLUMNS), np.uint8), name)
    path = saved(tmp_path, content[: int(len(content) * share)], name)
    with pytest.raises(ScanError, match=f"a whole {name} file; found one that is damaged or cut off"):
        registry.read_scan(path)


def test_a_mask_of_a_jpeg_is_a_png_that_carries_none_of_its_text(tmp_path: Path) -> None:
    path = saved(tmp_path, encoded(COLOURS, "JPEG", comment="JANE DOE"), "JPEG")
    scan = registry.read_scan(path)
    mask = (np.indices(scan.shape).sum(0) % 4).astype(np.uint8)
    registry.write_mask(tmp_path / "mask.png", mask, scan, labels={})
    np.testing.assert_array_equal(references.by_opencv(tmp_path / "mask.png")[0][0], mask)
    assert b"JANE" in path.read_bytes()
    assert b"JANE" not in (tmp_path / "mask.png").read_bytes()


def test_the_masks_of_drive_mark_vessels_with_255(real_data: RealData) -> None:
    masks = sorted((real_data("drive") / "1st_manual").glob("*.gif"))
    assert len(masks) == 20
    for path in masks:
        mask = registry.read_mask(path)
        assert set(np.unique(mask.array)) == {0, 255}
        np.testing.assert_array_equal(mask.array, references.by_opencv(path)[0][:1])
        image = path.parents[1] / "images" / path.name.replace("_manual1.gif", "_training.tif")
        assert registry.read_header(image).shape == mask.shape


MUTATIONS = st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 255)), min_size=1, max_size=6)


@pytest.mark.parametrize("name", ENDINGS)
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(mutations=MUTATIONS)
def test_a_file_of_any_bytes_is_read_or_refused_in_words(
    tmp_path: Path, name: str, mutations: list[tuple[int, int]]
) -> None:
    content = bytearray(encoded(FOUR, name))
    for place, value in mutations:
        content[place % len(content)] = value
    try:
        scan = registry.read_scan(saved(tmp_path, bytes(content), name))
    except ScanError:
        return
    assert scan.unit == "px"
