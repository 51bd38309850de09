"""What one DICOM file says of its images: where each lies in the patient, and what tells it from others of its series.

Positions are DICOM's own (LPS, PS3.3 C.7.6.2): x grows towards the patient's left, y towards the back, z towards the
head.
"""

import hashlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DamagedFileError, ScanError, UserError
from pipeline.formats.content import HEAD_BYTES, damaged, read_bytes, read_plain, reading, unpacked_head
from pipeline.formats.foreign import is_dicom
from pipeline.wording import times

if TYPE_CHECKING:
    from pydicom import Dataset

WHOLE = "a whole DICOM file"
LOGGERS = ("pydicom", "highdicom")
BARE = (
    b"\x08\x00\x00\x00",
    b"\x08\x00\x05\x00",
    b"\x08\x00\x08\x00",
    b"\x08\x00\x16\x00",
    b"\x00\x08\x00\x00",
    b"\x00\x08\x00\x05",
    b"\x00\x08\x00\x08",
    b"\x00\x08\x00\x16",
    b"\x02\x00\x00\x00",
)
"""First elements of files without a preamble, in either byte order: length of the group, character set, type, class."""
OWN_GROUPS, SHARED_GROUPS = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"
"""Where an enhanced object says what holds for one frame, and for all (PS3.3 C.7.6.16)."""
MOSAIC, LOCALIZER = "MOSAIC", "LOCALIZER"
DISTINGUISHING = (
    "AcquisitionNumber",
    "EchoTime",
    "EffectiveEchoTime",
    "InversionTime",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "DiffusionBValue",
    "TriggerTime",
    "NominalCardiacTriggerDelayTime",
    "ImageType",
    "FrameType",
)
"""Tags by which images at one place of one series are told apart, as the volumes of a film or of several echoes are."""
NO_IMAGE = {
    "1.2.840.10008.1.3.10": "a list of files (DICOMDIR)",
    "1.2.840.10008.5.1.4.1.1.104.": "a document",
    "1.2.840.10008.5.1.4.1.1.88.": "a report (SR)",
    "1.2.840.10008.5.1.4.1.1.11.": "a presentation state",
    "1.2.840.10008.5.1.4.1.1.481.2": "a dose distribution",
    "1.2.840.10008.5.1.4.1.1.481.": "a plan or structures of radiotherapy",
    "1.2.840.10008.5.1.4.1.1.66.": "a segmentation, a registration or raw data",
    "1.2.840.10008.5.1.4.1.1.67": "a mapping of values",
    "1.2.840.10008.5.1.4.1.1.9.": "a waveform",
}
"""Beginnings of SOPClassUID, the longest of which counts."""
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""SOPClassUID of pictures that were made of images, such as screenshots; those of several frames have more digits."""
HEADER_TAGS = (
    "SOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "Modality",
    "SeriesDescription",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    OWN_GROUPS,
    SHARED_GROUPS,
    *DISTINGUISHING,
)
"""All that is read of a header."""


class NoScanError(ScanError):
    """A DICOM file that is no scan of a patient: a report, a list of files, a localizer, a screenshot."""


@dataclass(frozen=True)
class Frame:
    """An image plane.

    Attributes:
        path: the file.
        number: which of the file's frames, from 0.
        series: SeriesInstanceUID.
        belongs: digits of a hash of the study, the patient and the frame of reference, which all slices of a volume
            share; it tells nobody who the patient is.
        size: columns and rows.
        orientation: of the columns' and of the rows' direction (6 cosines), along which column and row numbers grow.
        position_mm: centre of the first pixel, in LPS.
        pixel_spacing_mm: between columns and between rows.
        marks: the values of `DISTINGUISHING`, as text.
        modality: CT, MR and so on.
        description: SeriesDescription. It can name a patient, so that it is for choosing only.
    """

    path: Path
    number: int
    series: str
    size: tuple[int, int]
    orientation: tuple[float, ...]
    position_mm: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float]
    marks: tuple[str, ...]
    belongs: str = ""
    modality: str = ""
    description: str = ""

    @property
    def normal(self) -> NDArray[np.float64]:
        """The direction across the plane: columns' direction x rows' direction."""
        return np.cross(self.orientation[:3], self.orientation[3:])


@dataclass(frozen=True)
class DicomFile:
    """What a file turned out to be.

    Attributes:
        path: the file.
        series: SeriesInstanceUID; "" where it cannot be told.
        modality: Modality; "" likewise.
        description: SeriesDescription, free text; "" likewise.
        frames: its image planes; none where there is a problem, or no scan.
        problem: why it cannot be read as a scan; None where it can, and where it is none.
        note: what it is instead of a scan; "" for scans.
    """

    path: Path
    series: str = ""
    modality: str = ""
    description: str = ""
    frames: tuple[Frame, ...] = ()
    problem: UserError | None = None
    note: str = ""


def look_into(path: Path) -> DicomFile:
    """What a file is, without its pixels."""
    file = DicomFile(path)
    try:
        dataset = read_dataset(path, only=HEADER_TAGS)
        file = _of_series(dataset, path)
        return replace(file, frames=tuple(_frames(dataset, path)))
    except NoScanError as error:
        return replace(file, note=error.found)
    except ScanError as error:
        return replace(file, problem=error)


def read_frames(path: Path) -> list[Frame]:
    """The image planes of a file, without their pixels.

    Raises:
        NoScanError: it holds no scan of a patient.
        ScanError: it is damaged, or its images have no place in the patient.
    """
    return _frames(read_dataset(path, only=HEADER_TAGS), path)


def read_dataset(path: Path, *, pixels: bool = False, only: Sequence[str] = ()) -> "Dataset":
    """The elements of a file.

    Args:
        path: the file.
        pixels: whether those of its pixels too.
        only: keywords of the elements that are wanted; by default all.

    Raises:
        ScanError: it is no DICOM, damaged, or cannot be read.
    """
    import pydicom

    stored = read_bytes(path, HEAD_BYTES)
    head = unpacked_head(stored)
    if not recognises(head):
        raise DamagedFileError("a DICOM file", "one that begins otherwise", "Export it again.")
    force, source = not is_dicom(head), path if head is stored else io.BytesIO(read_plain(path))
    with reading(path), decoding():
        try:
            return pydicom.dcmread(source, stop_before_pixels=not pixels, force=force, specific_tags=list(only) or None)
        except OSError as error:
            raise DamagedFileError(
                "a readable file", error.strerror or type(error).__name__, "Export it again."
            ) from error


def recognises(head: bytes) -> bool:
    """Whether a file begins as one of DICOM does: with its preamble, or with an element of the first groups."""
    return is_dicom(head) or any(head.startswith(start) for start in BARE)


@contextmanager
def decoding() -> Iterator[None]:
    """Turn what pydicom and its decoders raise on damaged files into a message; values are decoded when asked for.

    Neither that nor a warning says what the library says: it quotes values, which can be a patient's name.

    Raises:
        DamagedFileError: they raised something.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        try:
            yield
        except (UserError, MemoryError):
            raise
        except Exception as error:  # what they raise has no common type
            raise damaged(WHOLE, type(error).__name__) from None  # nor does a traceback


def _of_series(dataset: "Dataset", path: Path) -> DicomFile:
    with decoding():
        names = ("SeriesInstanceUID", "Modality", "SeriesDescription")
        series, modality, description = (str(dataset.get(name) or "") for name in names)
        return DicomFile(path, series, modality, description)


def _frames(dataset: "Dataset", path: Path) -> list[Frame]:
    with decoding():
        _check_kind(dataset)
        _check_image(dataset)
        count, places = int(dataset.get("NumberOfFrames") or 1), len(dataset.get(OWN_GROUPS) or [None])
        if count != places:
            raise _no_place(f"{count} frames, {places} with a place")
        return [_frame(elements_of(dataset, number), path, number) for number in range(count)]


def _check_kind(dataset: "Dataset") -> None:
    known = _kind(dataset)
    kind = next((text for start, text in sorted(NO_IMAGE.items(), reverse=True) if known.startswith(start)), None)
    if kind is None and "Rows" not in dataset:
        kind = _without_image(known)
    is_capture = known == SECONDARY_CAPTURE or known.startswith(f"{SECONDARY_CAPTURE}.")
    if kind is None and is_capture and not _is_placed(dataset):
        kind = "a picture without a place in the patient (secondary capture)"
    if kind is None and LOCALIZER in _words(dataset.get("ImageType")):
        kind = "a localizer"
    if kind is not None:
        raise NoScanError("a scan of a patient", kind, "Leave it out.")


def _without_image(known: str) -> str:
    """What a file is that has no image.

    Raises:
        ScanError: it should have one.
    """
    from pydicom.uid import UID

    if not known or "Image" in UID(known).name:
        raise damaged(WHOLE, "no image in it")
    return "a file without an image"


def _kind(dataset: "Dataset") -> str:
    """SOPClassUID."""
    return str(dataset.get("SOPClassUID") or getattr(dataset, "file_meta", {}).get("MediaStorageSOPClassUID") or "")


def _is_placed(dataset: "Dataset") -> bool:
    return dataset.get("ImagePositionPatient") is not None or OWN_GROUPS in dataset


def _words(value: Any) -> list[str]:
    """The values of an element of several, which has one as plain text."""
    return [str(word).upper() for word in ([value] if isinstance(value, str) else value or [])]


def _check_image(dataset: "Dataset") -> None:
    if not dataset.get("SeriesInstanceUID"):
        raise ScanError("an image that names its series (SeriesInstanceUID)", "none", "Export it again.")
    if MOSAIC in _words(dataset.get("ImageType")):
        raise ScanError("a slice an image", "slices beside each other in one (a mosaic)", "Convert it (dcm2niix).")
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise ScanError("grey values", "a picture of colours", "Give the original series.")


def _no_place(found: str) -> ScanError:
    return ScanError("an image with a place in the patient", found, "Give the series that it was made from.")


class Elements:
    """The elements that hold for one frame: its own, those that all frames share, and those of the file."""

    def __init__(self, own: "Dataset | None", shared: "Dataset | None", dataset: "Dataset") -> None:
        self._groups = [group for group in (own, shared) if group is not None]
        self._dataset = dataset

    def get(self, name: str) -> Any:
        """An element by its keyword; None where there is none, or an empty one.

        Sequences of a manufacturer's own are passed over: what an element means in them only the manufacturer knows.
        """
        for group in self._groups:
            for element in group:
                is_macro = element.VR == "SQ" and not element.tag.is_private
                item = _first(element.value) if is_macro else None
                value = None if item is None else item.get(name)
                if value not in (None, ""):
                    return value
        value = self._dataset.get(name)
        return None if value == "" else value


def elements_of(dataset: "Dataset", number: int) -> Elements:
    """The elements that hold for a frame of a file."""
    groups = dataset.get(OWN_GROUPS)
    return Elements(groups[number] if groups else None, _first(dataset.get(SHARED_GROUPS)), dataset)


def _first(sequence: Any) -> Any:
    return sequence[0] if sequence else None


def _frame(elements: Elements, path: Path, number: int) -> Frame:
    orientation = _numbers(elements.get("ImageOrientationPatient"), 6)
    position = _numbers(elements.get("ImagePositionPatient"), 3)
    spacing = _numbers(elements.get("PixelSpacing"), 2)
    if orientation is None or position is None or spacing is None:
        lacking = {
            "ImageOrientationPatient": orientation,
            "ImagePositionPatient": position,
            "PixelSpacing": spacing,
        }
        raise _no_place(f"none ({', '.join(name for name, value in lacking.items() if value is None)})")
    _check_orientation(orientation)
    if min(spacing) <= 0:
        raise ScanError("a distance above 0 between pixels", times(spacing), "Export the series again.")
    return Frame(
        path=path,
        number=number,
        series=str(elements.get("SeriesInstanceUID") or ""),
        size=(int(elements.get("Columns")), int(elements.get("Rows"))),
        orientation=orientation,
        position_mm=position,
        pixel_spacing_mm=(spacing[1], spacing[0]),  # DICOM says the distance between rows first
        marks=tuple(_text(elements.get(name)) for name in DISTINGUISHING),
        belongs=_belongs(elements),
        modality=str(elements.get("Modality") or ""),
        description=str(elements.get("SeriesDescription") or ""),
    )


def _belongs(elements: Elements) -> str:
    names = ("StudyInstanceUID", "PatientID", "FrameOfReferenceUID")
    return hashlib.sha256(repr([str(elements.get(name) or "") for name in names]).encode()).hexdigest()[:16]


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """So many finite numbers, or None."""
    if value is None or isinstance(value, str) or len(value) != count:
        return None
    numbers = tuple(float(each) for each in value)
    return numbers if np.isfinite(numbers).all() else None


def _check_orientation(orientation: tuple[float, ...]) -> None:
    columns, rows = np.array(orientation[:3]), np.array(orientation[3:])
    lengths = np.linalg.norm(columns), np.linalg.norm(rows)
    if not np.allclose(lengths, 1, atol=1e-3) or abs(columns @ rows) > 1e-3:
        raise ScanError(
            "two directions of length 1 at right angles (ImageOrientationPatient)",
            ", ".join(f"{cosine:g}" for cosine in orientation),
            "Export the series again.",
        )


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (
        "\\".join(map(str, value)) if not isinstance(value, str | bytes) and hasattr(value, "__iter__") else str(value)
    )
