"""The values of a volume's voxels: decoded, and brought to the scale that the file states."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.formats.content import damaged
from pipeline.formats.dicom.frames import WHOLE, Elements, Frame, decoding, elements_of, read_dataset

if TYPE_CHECKING:
    from pydicom import Dataset

INVERTED, GREY = "MONOCHROME1", ("MONOCHROME1", "MONOCHROME2")
JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
PHYSICAL = {"CT", "PT"}
"""Modalities whose values are physical, whichever way they are to be shown."""
MAX_VOXELS, MAX_PIXELS = 2**33, 2**28
"""Of a volume and of a slice. More is a damaged header, or one that is to use up the memory: a whole-body CT of 512 x
512 x 4000 has 2^30, a mammogram 2^24."""


@dataclass(frozen=True)
class _Scale:
    """Stored value -> value: ``slope * stored + intercept`` (PS3.3 C.11.1), mirrored before where 0 is white."""

    slope: float
    intercept: float
    mirror: int | None

    def apply(self, stored: NDArray) -> NDArray:
        """The values, as whole numbers where they are whole."""
        values = stored.astype(np.int64) if self.mirror is None else self.mirror - stored.astype(np.int64)
        if self.slope == 1 and self.intercept == 0:
            return values
        scaled = values * self.slope + self.intercept
        return scaled.astype(np.int64) if self.slope.is_integer() and self.intercept.is_integer() else scaled


def read_values(frames: Sequence[Frame]) -> NDArray:
    """The values of slices (I, J, K): columns, rows and slices, in the smallest type that holds them without loss.

    Raises:
        ScanError: a file cannot be read, is damaged, or is compressed in a way that is not read.
    """
    with decoding():
        return _read_values(frames)


def _read_values(frames: Sequence[Frame]) -> NDArray:
    (columns, rows), by_file = frames[0].size, dict[Path, "Dataset"]()
    if columns * rows > MAX_PIXELS or columns * rows * len(frames) > MAX_VOXELS:
        expected = f"slices of at most {MAX_PIXELS} pixels, and volumes of at most {MAX_VOXELS} voxels"
        raise ScanError(expected, f"{columns} x {rows} x {len(frames)}", "Look whether its header is damaged.")
    slices = []
    for frame in frames:
        if frame.path not in by_file:
            by_file = {frame.path: read_dataset(frame.path, pixels=True)}  # one at a time: a file may be large
        slices.append(_smallest(_slice(by_file[frame.path], frame)))
    return _smallest(np.stack(slices, axis=-1))


def _slice(dataset: "Dataset", frame: Frame) -> NDArray:
    """One slice (columns, rows)."""
    elements = elements_of(dataset, frame.number)
    stored = _decode(dataset, frame.number)
    if stored.shape != frame.size[::-1]:
        raise damaged(WHOLE, f"pixels of the shape {stored.shape}")
    return _scale(elements, frame.modality).apply(stored).T


def _decode(dataset: "Dataset", number: int) -> NDArray:
    from pydicom.pixels.utils import pixel_array

    if "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        raise ScanError("pixels as whole numbers", "floats", "Convert it (dcm2niix).")
    try:
        if _syntax_uid(dataset) == JPEG_EXTENDED and dataset.BitsStored > 8:
            return _decode_jpeg(dataset, number)
        return pixel_array(dataset, index=number)
    except NotImplementedError as error:
        found = f"another ({_syntax(dataset)})"
        raise ScanError("a transfer syntax that is read", found, "Convert it (gdcmconv --raw).") from error


def _decode_jpeg(dataset: "Dataset", number: int) -> NDArray:
    """JPEG of 12 bits, which no decoder reads that pydicom knows and that may be shipped with this licence."""
    import imagecodecs
    from pydicom.encaps import get_frame

    if dataset.get("PixelRepresentation"):
        raise ScanError("12-bit JPEG of values without a sign", "values with one", "Convert it (gdcmconv --raw).")
    frames = int(dataset.get("NumberOfFrames") or 1)
    return imagecodecs.jpeg_decode(get_frame(dataset.PixelData, number, number_of_frames=frames))


def _syntax_uid(dataset: "Dataset") -> str:
    return str(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID") or "")


def _syntax(dataset: "Dataset") -> str:
    from pydicom.uid import UID

    return UID(_syntax_uid(dataset)).name or "none is named"


def _scale(elements: Elements, modality: str) -> _Scale:
    meaning = str(elements.get("PhotometricInterpretation") or "")
    if meaning not in GREY:
        raise ScanError("grey values", f"other colours ({meaning or 'not named'})", "Give the original series.")
    if elements.get("ModalityLUTSequence") is not None:
        raise ScanError("a slope and an intercept", "a table of values (Modality LUT)", "Convert it (dcm2niix).")
    slope, intercept = (elements.get(name) for name in ("RescaleSlope", "RescaleIntercept"))
    slope, intercept = float(1 if slope is None else slope), float(0 if intercept is None else intercept)
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ScanError("a slope that is not 0", f"slope {slope:g}, intercept {intercept:g}", "Export it again.")
    return _Scale(slope, intercept, _mirror(elements) if meaning == INVERTED and modality not in PHYSICAL else None)


def _mirror(elements: Elements) -> int:
    """The sum of the lowest and the highest value that can be stored."""
    bits, signed = int(elements.get("BitsStored")), bool(elements.get("PixelRepresentation"))
    return -1 if signed else 2**bits - 1


def _smallest(values: NDArray) -> NDArray:
    """The same values in the smallest type that holds them; fractions in 32 bits, as everything computes with."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    low, high = int(values.min()), int(values.max())
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.uint32)
    fitting = (kind for kind in kinds if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return values.astype(next(fitting, np.int64), copy=False)
