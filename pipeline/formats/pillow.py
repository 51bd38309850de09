"""JPEG, GIF and BMP through Pillow, which refuses files that are cut off.

A JPEG has no checksum: damage in its middle can neither be seen by Pillow nor by another decoder.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats import image2d
from pipeline.formats.content import decoding, plain, reading
from pipeline.formats.format import Format
from pipeline.scan import Scan, ScanHeader

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

PALETTE = "P"
CHANNELS = {"1": 1, "L": 1, "RGB": 3, "LA": 1, "RGBA": 3}
"""By Pillow's name of how pixels are stored, without alpha."""
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
"""Sizes of the header behind the first 14 bytes of a BMP."""


def recognises_jpeg(head: bytes) -> bool:
    """Whether a file begins as every JPEG does."""
    return head.startswith(b"\xff\xd8\xff")


def recognises_gif(head: bytes) -> bool:
    """Whether a file begins as every GIF does."""
    return head.startswith((b"GIF87a", b"GIF89a"))


def recognises_bmp(head: bytes) -> bool:
    """Whether a file begins as a BMP; two letters would be too little to go by."""
    return head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in BMP_HEADERS


def read_header(path: Path, name: str) -> ScanHeader:
    """The grid.

    Raises:
        ScanError: the file is missing, not of this format, animated, of other colours than grey and RGB, or to be
            turned when it is shown.
    """
    with _opened(path, name) as image:
        return _header(image)


def read_scan(path: Path, name: str) -> Scan:
    """Read a picture (C, I, J, 1) of unknown scale: grey, or red, green and blue; a palette is expanded.

    Raises:
        ScanError: as `read_header`, and where it is damaged, cut off, or not opaque.
    """
    with _opened(path, name) as image:
        pixels = _pixels(image)
        if image.mode == PALETTE:
            pixels = image2d.colours_of(pixels[..., 0], _palette(image))
    return image2d.picture_scan(pixels[None], path, name)


def read_labels(path: Path, name: str) -> Scan:
    """As `read_scan`, but of a palette of colours the numbers (1, I, J, 1).

    Raises:
        ScanError: as `read_scan`.
    """
    with _opened(path, name) as image:
        pixels = _pixels(image)
        if image.mode == PALETTE:
            pixels = image2d.labels_of(pixels[..., 0], _palette(image))
    return image2d.picture_scan(pixels[None], path, name)


def has_palette(path: Path, name: str) -> bool:
    """Whether pixels are numbers in a palette.

    Raises:
        ScanError: as `read_header`.
    """
    with _opened(path, name) as image:
        return image.mode == PALETTE


@contextmanager
def _opened(path: Path, name: str) -> Iterator["ImageFile"]:
    from PIL import Image

    with reading(path), path.open("rb") as stream, decoding(f"a whole {name} file"), warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit on pixels is one for all formats
        try:
            image = Image.open(stream, formats=[name])
        except Image.DecompressionBombError as error:
            raise image2d.too_large(plain(error)) from error
        with image:
            yield image


def _header(image: "ImageFile") -> ScanHeader:
    frames = getattr(image, "n_frames", 1)
    if frames != 1:
        raise ScanError("a single picture", f"{frames} frames", "Save the frame that is meant.")
    if image.mode != PALETTE and image.mode not in CHANNELS:
        found = f"other colours ({image.mode})"
        raise ScanError("grey values, or red, green and blue", found, "Convert it to RGB on purpose.")
    image2d.check_orientation(int(image.getexif().get(image2d.ORIENTATION, 0)))
    _check_frame(image)
    channels = image2d.palette_channels(_palette(image)) if image.mode == PALETTE else CHANNELS[image.mode]
    return image2d.picture_header(*image.size, channels=channels)


def _check_frame(image: "ImageFile") -> None:
    """Refuse a frame of a GIF that leaves a part of the picture empty."""
    if any(tile.extents != (0, 0, *image.size) for tile in image.tile):
        raise ScanError("a frame that fills the picture", "one that leaves a border", "Save it as PNG.")


def _palette(image: "ImageFile") -> NDArray[np.uint8]:
    """(n, 3)."""
    return np.array(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)


def _pixels(image: "ImageFile") -> NDArray:
    """Grey values, colours, or numbers in a palette: (rows, columns, channels), without alpha."""
    _header(image)
    clear = image.info.get("transparency")
    values = np.array(image, dtype=np.uint8)
    pixels = values if values.ndim == 3 else values[..., None]
    if image.mode in {"LA", "RGBA"}:
        return image2d.without_alpha(pixels)
    if isinstance(clear, int) and (pixels == clear).any():
        raise image2d.transparent(int((pixels == clear).sum()))
    return pixels


def _format(name: str, endings: tuple[str, ...], recognises: Callable[[bytes], bool], *, unmistakable: bool) -> Format:
    return Format(
        name=name,
        endings=endings,
        recognises=recognises,
        read_header=partial(read_header, name=name),
        read_scan=partial(read_scan, name=name),
        read_labels=partial(read_labels, name=name),
        has_palette=partial(has_palette, name=name),
        unmistakable=unmistakable,
    )


JPEG = _format("JPEG", (".jpg", ".jpeg", ".jpe"), recognises_jpeg, unmistakable=True)
GIF = _format("GIF", (".gif",), recognises_gif, unmistakable=True)
BMP = _format("BMP", (".bmp", ".dib"), recognises_bmp, unmistakable=False)
