"""What holds for pictures of every format: where their axes run, what their alpha channel and their palette mean.

A picture is a volume (C, I, J, K): I are its columns, from left to right, J its rows, from top to bottom, and K its
pages, of which most formats have one. As in ITK, I runs to the patient's left and J to the back; shown as radiologists
look at a patient, it stands as its file shows it. Nothing is known of the size of a pixel: print resolutions (dpi) are
not sizes of tissue. Its unit is therefore the pixel.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline import geometry
from pipeline.errors import ScanError
from pipeline.scan import Scan, ScanHeader
from pipeline.wording import count_of

MAX_PIXELS = 178_956_970
"""Of a page, some 13,000 x 13,000, which is what Pillow allows: a small file can claim any size."""
ORIENTATION = 0x0112
"""The tag of EXIF and of TIFF that says how stored pixels are turned before they are shown."""
UPRIGHT = 1
"""Its value for pixels that are stored as they are shown."""


def picture_affine() -> geometry.Affine:
    """Voxel index -> RAS px."""
    return np.diag([-1.0, -1.0, 1.0, 1.0])


def picture_header(columns: int, rows: int, pages: int = 1, *, channels: int) -> ScanHeader:
    """The grid of a picture.

    Raises:
        ScanError: it has more pixels than can be meant.
    """
    if columns * rows > MAX_PIXELS:
        raise too_large(f"{columns} x {rows}")
    return ScanHeader((columns, rows, pages), channels, picture_affine(), "px")


def too_large(found: str) -> ScanError:
    """The error for a picture of more pixels than can be meant."""
    return ScanError(f"a picture of at most {MAX_PIXELS} pixels", found, "Cut it into tiles, or scale it down.")


def picture_scan(pages: NDArray, path: Path, name: str) -> Scan:
    """A scan of pages.

    Args:
        pages: (K, rows, columns, channels).
        path: the file.
        name: of the format.
    """
    return Scan(pages.transpose(3, 2, 1, 0), picture_affine(), path, "px", name)


def check_orientation(orientation: int) -> None:
    """Refuse pixels that are to be turned before they are shown.

    Masks are drawn on turned pixels by some programs and on stored ones by others, so neither may be assumed.

    Args:
        orientation: EXIF's, or the one of TIFF; 0 where there is none.

    Raises:
        ScanError: it is another than upright.
    """
    if orientation not in {0, UPRIGHT}:
        raise ScanError(
            "pixels that are stored upright",
            f"a picture that is turned or mirrored when it is shown (Orientation {orientation})",
            "Turn the pixels themselves (ImageOps.exif_transpose of Pillow, or mogrify -auto-orient), and masks alike.",
        )


def without_alpha(pixels: NDArray) -> NDArray:
    """Drop the last channel, which says how opaque each pixel is.

    Args:
        pixels: (..., channels).

    Raises:
        ScanError: a pixel is not opaque: what it shows depends on what lies behind it.
    """
    opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    clear = int((pixels[..., -1] != opaque).sum())
    if clear:
        raise transparent(clear)
    return pixels[..., :-1]


def transparent(count: int) -> ScanError:
    """The error for pixels that are not opaque."""
    found = f"{count_of(count, 'pixel')} with transparency"
    return ScanError("opaque pixels", found, "Flatten it onto the background that is meant.")


def colours_of(indices: NDArray[np.integer], palette: NDArray[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Colours (..., 3) of pixels that are numbers in a palette (n, 3); grey values (..., 1) where all of it is grey.

    Raises:
        ScanError: a number is not in the palette.
    """
    _check_indices(indices, palette)
    return (palette[:, :1] if is_grey(palette) else palette)[indices]


def labels_of(indices: NDArray[np.integer], palette: NDArray[np.unsignedinteger]) -> NDArray:
    """What pixels (...) with a palette (n, 3) mean in a mask, as (..., 1): a grey value, or the number of a colour.

    In a palette of greys the colour counts, as in the same picture without a palette; one of colours is there to be
    looked at, and the number counts.

    Raises:
        ScanError: a number is not in the palette, or two that are used look alike.
    """
    _check_indices(indices, palette)
    used = np.unique(indices)
    if len(np.unique(palette[used], axis=0)) < len(used):
        raise ScanError(
            "a palette in which labels differ",
            "two numbers with one colour, so that it is unclear whether numbers or colours are the labels",
            "Save the mask without a palette, as grey values.",
        )
    return palette[:, :1][indices] if is_grey(palette) else indices[..., None]


def is_grey(palette: NDArray[np.unsignedinteger]) -> bool:
    """Whether a palette (n, 3) has no colour."""
    return bool((palette == palette[:, :1]).all())


def palette_channels(palette: NDArray[np.unsignedinteger]) -> int:
    """How many channels a picture with a palette (n, 3) has."""
    return 1 if is_grey(palette) else 3


def _check_indices(indices: NDArray[np.integer], palette: NDArray[np.unsignedinteger]) -> None:
    if indices.max() >= len(palette):
        raise ScanError(
            f"pixels among the {len(palette)} colours of the palette", f"number {indices.max()}", "Export it again."
        )
