"""PNG through imagecodecs, which keeps 16 bits and, unlike Pillow, notices where rows are missing.

Values are those that the file stores: pixels of 1, 2 or 4 bits are not stretched to 8, and no gamma is applied.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.files import atomic_path
from pipeline.formats import image2d
from pipeline.formats.content import damaged, read_bytes
from pipeline.formats.format import Format, Mask, without_names
from pipeline.scan import Scan, ScanHeader

NAME = "PNG"
HEADER_BYTES = 2**18
"""Read for a header: what it depends on comes before the pixels, with text and colour profiles among it."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
TRUSTED = {b"IHDR", b"PLTE", b"tRNS", b"acTL", b"eXIf"}
"""Chunks besides the pixels that something depends on."""
WHOLE = "a whole PNG file"
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, GREY_ALPHA: 1, RGB_ALPHA: 3}
"""By the type of colour (PNG specification, section 11.2.2), without alpha."""


@dataclass(frozen=True)
class _Png:
    """A file, chunk by chunk.

    Attributes:
        width: in pixels.
        height: in pixels.
        bits: of a sample.
        colour: type of colour.
        content: of the file.
        chunks: what it holds by name, but for the pixels.
        pixels: the chunks of the pixels as they lie in the file, with lengths and checksums.
    """

    width: int
    height: int
    bits: int
    colour: int
    content: bytes
    chunks: dict[bytes, bytes]
    pixels: bytes

    @property
    def palette(self) -> NDArray[np.uint8]:
        """(n, 3)."""
        colours = self.chunks.get(b"PLTE", b"")
        if not colours or len(colours) % 3:
            raise damaged(WHOLE, "no palette")
        return np.frombuffer(colours, np.uint8).reshape(-1, 3)


def recognises(head: bytes) -> bool:
    """Whether a file begins as every PNG does."""
    return head.startswith(SIGNATURE)


def read_header(path: Path) -> ScanHeader:
    """The grid; of the pixels only their order and number are looked at.

    Raises:
        ScanError: the file is missing, no PNG, animated, or to be turned when it is shown.
    """
    return _header(_parse(read_bytes(path, HEADER_BYTES)))


def read_scan(path: Path) -> Scan:
    """Read a picture (C, I, J, 1) of unknown scale: grey, or red, green and blue; a palette is expanded.

    Raises:
        ScanError: as `read_header`, and where it is damaged, cut off, or not opaque.
    """
    png = _parse(read_bytes(path))
    pixels = _pixels(png) if png.colour != PALETTE else image2d.colours_of(_indices(png), png.palette)
    return _scan(pixels, png, path)


def read_labels(path: Path) -> Scan:
    """As `read_scan`, but of a palette of colours the numbers (1, I, J, 1).

    Raises:
        ScanError: as `read_scan`.
    """
    png = _parse(read_bytes(path))
    pixels = _pixels(png) if png.colour != PALETTE else image2d.labels_of(_indices(png), png.palette)
    return _scan(pixels, png, path)


def has_palette(path: Path) -> bool:
    """Whether pixels are numbers in a palette.

    Raises:
        ScanError: as `read_header`.
    """
    return _parse(read_bytes(path, HEADER_BYTES)).colour == PALETTE


def write_mask(target: Path, mask: Mask, scan: Scan) -> None:
    """Write a mask (I, J, 1) as grey values of 8 or 16 bits, whole or not at all."""
    import imagecodecs

    assert mask.shape == scan.shape, (mask.shape, scan.shape)
    assert mask.shape[2] == 1, mask.shape
    with atomic_path(target) as path:
        path.write_bytes(imagecodecs.png_encode(np.ascontiguousarray(mask[..., 0].T)))


def _scan(pixels: NDArray, png: _Png, path: Path) -> Scan:
    _header(png)  # raises what it raises
    return image2d.picture_scan(pixels[None], path, NAME)


def _header(png: _Png) -> ScanHeader:
    if b"acTL" in png.chunks:
        raise ScanError("a single picture", "an animated PNG", "Save the frame that is meant.")
    image2d.check_orientation(_orientation(png.chunks.get(b"eXIf", b"")))
    channels = image2d.palette_channels(png.palette) if png.colour == PALETTE else CHANNELS[png.colour]
    return image2d.picture_header(png.width, png.height, channels=channels)


def _parse(content: bytes) -> _Png:
    found = list(_chunks(content))
    chunks = {name: _checked(name, whole) for name, whole in found if name != b"IDAT"}
    pixels = b"".join(whole for name, whole in found if name == b"IDAT")
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise damaged(WHOLE, "no header")
    width, height, bits, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    if colour not in {*CHANNELS, PALETTE} or bits not in {1, 2, 4, 8, 16} or not (width and height):
        raise damaged(WHOLE, "a header that no PNG has")
    return _Png(width, height, bits, colour, content, chunks, pixels)


def _checked(name: bytes, chunk: bytes) -> bytes:
    """The content of a chunk; where something depends on it, its checksum has to be right."""
    if name in TRUSTED and zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        raise damaged(WHOLE, f"the checksum of {name.decode()}")
    return chunk[8:-4]


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Each chunk's name, and all of it, as far as they are whole; the decoder looks at the checksums of the pixels."""
    if not recognises(content):
        raise ScanError("a PNG file", "one that begins otherwise", "Export it again.")
    start = len(SIGNATURE)
    while start + 12 <= len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if end > len(content):
            return
        yield content[start + 4 : start + 8], content[start:end]
        start = end


def _pixels(png: _Png) -> NDArray:
    """Grey values or colours (rows, columns, channels), without alpha; of few bits as they are stored."""
    _header(png)
    decoded = _decode(png.content)
    pixels = decoded if decoded.ndim == 3 else decoded[..., None]
    if pixels.shape[-1] in {2, 4}:  # the decoder makes alpha of a transparent colour too
        pixels = image2d.without_alpha(pixels)
    return _as_stored(pixels, png.bits)


def _indices(png: _Png) -> NDArray[np.uint8]:
    """Numbers (rows, columns) in the palette: with its type of colour changed, the file is a grey picture of them."""
    _header(png)
    data = b"IHDR" + png.chunks[b"IHDR"][:9] + bytes([GREY]) + png.chunks[b"IHDR"][10:]
    header = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    indices = _as_stored(_decode(SIGNATURE + header + png.pixels + END), png.bits)
    alpha = np.full(256, 255, np.uint8)
    alpha[: len(png.chunks.get(b"tRNS", b""))] = np.frombuffer(png.chunks.get(b"tRNS", b""), np.uint8)
    clear = int((alpha[indices] != 255).sum())
    if clear:
        raise image2d.transparent(clear)
    return indices


def _decode(content: bytes) -> NDArray:
    import imagecodecs

    return imagecodecs.png_decode(content)


def _as_stored(pixels: NDArray, bits: int) -> NDArray:
    """Undo the decoder's stretching of n bits to 8: it multiplies by 255 / (2^n - 1), a whole number."""
    return pixels // (255 // (2**bits - 1)) if bits < 8 else pixels


def _orientation(exif: bytes) -> int:
    if not exif:
        return 0
    from PIL import Image

    tags = Image.Exif()
    tags.load(exif)
    return int(tags.get(image2d.ORIENTATION, 0))


FORMAT = Format(
    name=NAME,
    endings=(".png",),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    read_labels=read_labels,
    has_palette=has_palette,
    mask_endings=(".png",),
    write_mask=without_names(write_mask),
    unmistakable=True,
)
