"""TIFF through tifffile, which keeps 16 bits, with the decoders of imagecodecs.

A file of several pages is a stack. What tells one from a film, from a set of unlike pictures, or from a file whose last
pages were cut off, is decided here: tifffile takes missing pieces for zeros and missing pages for the end.
"""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.files import atomic_path
from pipeline.formats import image2d
from pipeline.formats.content import damaged, decoding, reading
from pipeline.formats.format import Format, Mask, without_names
from pipeline.scan import Scan, ScanHeader
from pipeline.wording import times

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

NAME = "TIFF"
WHOLE = "a whole TIFF file"
REDUCED, TRANSPARENCY = 1, 4
"""Bits of NewSubfileType: a page is a smaller copy of another, or the mask of one."""
PAGES, SAMPLES = "ZIQ", "SC"
"""Letters of tifffile for axes that may be pages, and those that may be channels; T is time."""
COLOURS = {"MINISBLACK": 1, "MINISWHITE": 1, "RGB": 3, "YCBCR": 3}
"""Samples a pixel that are colour, by tifffile's name of what they mean."""
ALPHA = {1, 2}
"""Values of ExtraSamples that mean opacity."""
BIGTIFF = 43
SIMPLER = {"bool": np.uint8, "float16": np.float32}
"""What single bits and half numbers become."""
END_OF_JPEG = b"\xff\xd9"


def recognises(head: bytes) -> bool:
    """Whether a file begins as a TIFF or a BigTIFF of either byte order does."""
    return head.startswith((b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"))


def read_header(path: Path) -> ScanHeader:
    """The grid; no pixel is looked at.

    Raises:
        ScanError: the file is missing, no TIFF, no stack of like pages, or of other colours than grey and RGB.
    """
    with _opened(path) as file:
        return _header(_stack(file))


def read_scan(path: Path) -> Scan:
    """Read a picture or a stack (C, I, J, K) of unknown scale; a palette is expanded, and 0 is black.

    Raises:
        ScanError: as `read_header`, and where it is damaged, cut off, or not opaque.
    """
    with _opened(path) as file:
        stack = _stack(file)
        pages = _pages(file, stack)
        if _photometric(stack.keyframe) == "PALETTE":
            pages = image2d.colours_of(pages[..., 0], _palette(stack.keyframe))
        elif _photometric(stack.keyframe) == "MINISWHITE":
            pages = _inverted(pages, stack.keyframe.bitspersample)
    return image2d.picture_scan(pages, path, NAME)


def read_labels(path: Path) -> Scan:
    """As `read_scan`, but of a palette of colours the numbers (1, I, J, K).

    Raises:
        ScanError: as `read_scan`.
    """
    with _opened(path) as file:
        stack = _stack(file)
        pages = _pages(file, stack)
        if _photometric(stack.keyframe) == "PALETTE":
            pages = image2d.labels_of(pages[..., 0], _palette(stack.keyframe))
    return image2d.picture_scan(pages, path, NAME)


def has_palette(path: Path) -> bool:
    """Whether pixels are numbers in a palette.

    Raises:
        ScanError: as `read_header`.
    """
    with _opened(path) as file:
        return _photometric(_stack(file).keyframe) == "PALETTE"


def check_mask(path: Path) -> None:
    """Refuse a mask whose pixels programs do not agree on.

    Raises:
        ScanError: 0 is white, so that programs differ in what is marked.
    """
    with _opened(path) as file:
        if _photometric(_stack(file).keyframe) == "MINISWHITE":
            raise ScanError(
                "a mask in which 0 is black (MinIsBlack)",
                "MinIsWhite, which some programs turn round and others do not",
                "Save it as PNG, or as TIFF with 8 bits.",
            )


def write_mask(target: Path, mask: Mask, scan: Scan) -> None:
    """Write a mask (I, J, K), a page for each K, as grey values of 8 or 16 bits, whole or not at all."""
    write_array(target, mask, scan)


def write_array(target: Path, values: NDArray, scan: Scan) -> None:
    """As `write_mask`, numbers of any type (I, J, K)."""
    import tifffile

    assert values.shape == scan.shape, (values.shape, scan.shape)
    with atomic_path(target) as path, tifffile.TiffWriter(path, bigtiff=values.nbytes > 2**31) as writer:
        for page in np.moveaxis(values, -1, 0):
            rows = np.ascontiguousarray(page.T)
            writer.write(rows, photometric="minisblack", compression="zlib", metadata=None, software=False)


@contextmanager
def _opened(path: Path) -> Iterator["TiffFile"]:
    import tifffile

    with reading(path), path.open("rb") as stream, decoding(WHOLE):
        count = _count_pages(stream)
        stream.seek(0)
        with tifffile.TiffFile(stream, name=path.name) as file:
            if len(file.pages) != count:
                raise damaged(WHOLE, f"{count} pages, of which {len(file.pages)} can be read")
            yield file


def _count_pages(stream: BinaryIO) -> int:
    """Follow the chain of page directories to its end; where a file was cut off, it leads out of the file.

    Raises:
        struct.error: it does.
        ScanError: it goes round in a circle.
    """

    def number(form: str) -> int:
        return int(struct.unpack(order + form, stream.read(struct.calcsize(form)))[0])

    order = "<" if stream.read(2) == b"II" else ">"
    is_big = number("H") == BIGTIFF
    stream.seek(8 if is_big else 4)
    count_form, place_form, entry_bytes = ("Q", "Q", 20) if is_big else ("H", "I", 12)
    seen: set[int] = set()
    while place := number(place_form):
        if place in seen:
            raise damaged(WHOLE, "its pages in a circle")
        seen.add(place)
        stream.seek(place)
        stream.seek(number(count_form) * entry_bytes, 1)
    return len(seen)


def _stack(file: "TiffFile") -> "TiffPageSeries":
    """The pages that are the picture, apart from thumbnails.

    Raises:
        ScanError: they are unlike each other, lie in other files, or cannot be told to be a stack.
    """
    found = [series for series in file.series if not series.keyframe.subfiletype & REDUCED]
    if len(found) != 1 or found[0].is_multifile or found[0].keyframe.subfiletype & TRANSPARENCY:
        kinds = ", ".join(f"{len(series.pages)} of {times(series.keyframe.shape)}" for series in found)
        raise ScanError("pages of one size and kind, in one file", kinds or "none", "Save the picture that is meant.")
    others = [letter for letter in found[0].axes if letter not in "YX"]
    pages, samples = (sum(letter in group for letter in others) for group in (PAGES, SAMPLES))
    if pages > 1 or samples > 1 or pages + samples < len(others):
        axes = ", ".join(f"{letter} {size}" for letter, size in zip(found[0].axes, found[0].shape, strict=True))
        raise ScanError("a picture or a stack of them, in grey or RGB", f"the axes {axes}", "Save one volume a file.")
    return found[0]


def _header(stack: "TiffPageSeries") -> ScanHeader:
    page = stack.keyframe
    orientation = page.tags.get(image2d.ORIENTATION)
    image2d.check_orientation(0 if orientation is None else int(orientation.value))
    sizes = dict(zip(stack.axes, stack.shape, strict=True))
    pages = next((size for letter, size in sizes.items() if letter in PAGES), 1)
    samples = next((size for letter, size in sizes.items() if letter in SAMPLES), 1)
    return image2d.picture_header(sizes["X"], sizes["Y"], pages, channels=_channels(page, samples))


def _channels(page: "TiffPage", samples: int) -> int:
    """How many channels are left without alpha."""
    kind = _photometric(page)
    if kind == "PALETTE" and samples == 1:
        return image2d.palette_channels(_palette(page))
    if kind not in COLOURS or (kind == "YCBCR" and _compression(page) != "JPEG"):
        raise ScanError("grey values, or red, green and blue", f"other colours ({kind})", "Convert it to RGB.")
    if page.dtype is None or page.dtype.kind not in "buif":
        raise ScanError("real intensities", f"values of the type {page.dtype}", "Save it with 8 or 16 bits.")
    return samples - int(_has_alpha(page))


def _has_alpha(page: "TiffPage") -> bool:
    """Whether the last sample of each pixel tells how opaque it is.

    A sample behind three colours does; one behind a grey value may be a second channel, unless the file says so.
    """
    extra = page.samplesperpixel - COLOURS[_photometric(page)]
    if extra > 1 and COLOURS[_photometric(page)] > 1:
        raise ScanError("red, green and blue", f"{extra} samples more", "Save the channels as grey pages.")
    return extra == 1 and (COLOURS[_photometric(page)] > 1 or any(int(sample) in ALPHA for sample in page.extrasamples))


def _pages(file: "TiffFile", stack: "TiffPageSeries") -> NDArray:
    """The pixels (K, rows, columns, channels) as they are stored, without alpha."""
    header = _header(stack)
    _check_pieces(file, stack)
    array, axes = stack.asarray(), stack.axes
    order = [axes.index(letter) for group in (PAGES, "Y", "X", SAMPLES) for letter in axes if letter in group]
    pages = array.transpose(order).reshape(header.shape[2], header.shape[1], header.shape[0], -1)
    if _photometric(stack.keyframe) != "PALETTE" and _has_alpha(stack.keyframe):
        pages = image2d.without_alpha(pages)
    return pages.astype(SIMPLER.get(pages.dtype.name, pages.dtype), copy=False)


def _check_pieces(file: "TiffFile", stack: "TiffPageSeries") -> None:
    """Refuse pieces of pages that are missing or reach beyond the file."""
    size = file.filehandle.size
    if stack.dataoffset is not None and stack.dataoffset + stack.nbytes > size:
        raise damaged(WHOLE, f"{stack.nbytes} bytes of pixels expected")
    for page in stack.pages:
        if page is None:
            raise damaged(WHOLE, "a page is missing")
        if len(page.dataoffsets) != math.prod(page.chunked):
            raise damaged(WHOLE, f"{len(page.dataoffsets)} of {math.prod(page.chunked)} pieces of a page")
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if count <= 0 or offset <= 0 or offset + count > size:
                raise damaged(WHOLE, "a piece of a page is missing")
            if _compression(stack.keyframe) == "JPEG":
                _check_jpeg(file, offset, count)


def _check_jpeg(file: "TiffFile", offset: int, count: int) -> None:
    """Decoders fill up what is missing at the end of a JPEG with grey."""
    file.filehandle.seek(offset)
    if not file.filehandle.read(count).rstrip(b"\x00").endswith(END_OF_JPEG):
        raise damaged(WHOLE, "a piece in JPEG without an end")


def _inverted(pages: NDArray, bits: int) -> NDArray:
    """The values of a picture in which 0 is white."""
    if pages.dtype.kind != "u":
        raise ScanError("whole numbers from 0, where 0 is white", f"{pages.dtype}", "Save it with 0 as black.")
    return (2**bits - 1) - pages


def _palette(page: "TiffPage") -> NDArray[np.unsignedinteger]:
    """(n, 3), of 8 bits where the file's 16 say no more: it stores v x 257, some programs v x 256."""
    if page.colormap is None or page.samplesperpixel != 1:
        raise damaged(WHOLE, "no palette")
    colours = np.asarray(page.colormap).T
    for factor in (257, 256):
        if not (colours % factor).any():
            return (colours // factor).astype(np.uint8)
    return colours


def _photometric(page: "TiffPage") -> str:
    return getattr(page.photometric, "name", str(page.photometric))


def _compression(page: "TiffPage") -> str:
    return getattr(page.compression, "name", str(page.compression))


FORMAT = Format(
    name=NAME,
    endings=(".tif", ".tiff"),
    recognises=recognises,
    read_header=read_header,
    read_scan=read_scan,
    read_labels=read_labels,
    has_palette=has_palette,
    check_mask=check_mask,
    mask_endings=(".tif",),
    write_mask=without_names(write_mask),
)
