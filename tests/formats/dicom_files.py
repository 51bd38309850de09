"""DICOM files of a few pixels, made by pydicom."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import UID, CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES = generate_uid(entropy_srcs=["a series"])


def write_slice(path: Path, pixels: NDArray, position: Sequence[float], **elements: Any) -> Path:
    """A slice (rows, columns) of a CT series; elements by their keywords replace its own, and None leaves one out."""
    dataset = _dataset(path, CTImageStorage, pixels)
    dataset.PixelSpacing = [0.5, 0.75]  # between rows, between columns
    dataset.ImageOrientationPatient = list(AXIAL)
    dataset.ImagePositionPatient = list(position)
    dataset.SliceThickness = 9
    return _save(dataset, path, elements)


def write_enhanced(path: Path, frames: NDArray, positions: Sequence[Sequence[float]], **elements: Any) -> Path:
    """An enhanced object of frames (frame, rows, columns)."""
    dataset = _dataset(path, EnhancedCTImageStorage, frames[0])
    dataset.NumberOfFrames, dataset.PixelData = len(frames), frames.tobytes()
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 9
    orientation.ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Items([measures]), Items([orientation])
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [_own(position, number) for number, position in enumerate(positions)]
    )
    return _save(dataset, path, elements)


def _own(position: Sequence[float], number: int) -> Dataset:
    """What holds for one frame: its place, and a slope of its own."""
    own, place, values = Dataset(), Dataset(), Dataset()
    place.ImagePositionPatient = list(position)
    values.RescaleSlope, values.RescaleIntercept = number + 1, -1
    own.PlanePositionSequence, own.PixelValueTransformationSequence = Items([place]), Items([values])
    return own


def _dataset(path: Path, kind: UID, pixels: NDArray) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = kind, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    dataset = FileDataset(path, {}, file_meta=meta, preamble=bytes(128))
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID, dataset.Modality = SERIES, "CT"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    return dataset


def _save(dataset: FileDataset, path: Path, elements: dict[str, Any]) -> Path:
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
