import gzip
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ScanError
from pipeline.formats import registry
from pipeline.formats.dicom.frames import NoScanError, read_frames
from pipeline.formats.foreign import DICOM
from tests.formats.dicom_files import AXIAL, SERIES, write_enhanced, write_slice

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4)


def test_a_slice_says_where_its_first_pixel_lies_and_how_far_its_columns_and_rows_are_apart(tmp_path: Path) -> None:
    (frame,) = read_frames(write_slice(tmp_path / "a", PIXELS, (1, 2, 3)))
    assert (frame.series, frame.size, frame.modality) == (SERIES, (4, 3), "CT")
    assert (frame.orientation, frame.position_mm, frame.pixel_spacing_mm) == (AXIAL, (1, 2, 3), (0.75, 0.5))
    assert frame.normal.tolist() == [0, 0, 1]


def test_the_frames_of_an_enhanced_object_have_places_of_their_own(tmp_path: Path) -> None:
    frames = read_frames(write_enhanced(tmp_path / "a", np.stack([PIXELS] * 2), [(0, 0, 5), (0, 0, 7)]))
    assert [(frame.number, frame.position_mm[2], frame.pixel_spacing_mm) for frame in frames] == [
        (0, 5, (0.75, 0.5)),
        (1, 7, (0.75, 0.5)),
    ]


def test_a_file_without_a_preamble_is_read_all_the_same(tmp_path: Path) -> None:
    content = write_slice(tmp_path / "a", PIXELS, (0, 0, 0)).read_bytes()
    start = content.index(b"\x08\x00\x16\x00")  # the class of the object, the first element behind the preamble
    (tmp_path / "bare").write_bytes(content[start:])
    assert read_frames(tmp_path / "bare")[0].position_mm == (0, 0, 0)


def test_a_compressed_file_is_read_all_the_same(tmp_path: Path) -> None:
    content = write_slice(tmp_path / "a", PIXELS, (1, 2, 3)).read_bytes()
    (tmp_path / "a.dcm.gz").write_bytes(gzip.compress(content))
    assert read_frames(tmp_path / "a.dcm.gz")[0].position_mm == (1, 2, 3)
    assert registry.recognise(tmp_path / "a.dcm.gz") is DICOM


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"ImagePositionPatient": None}, r"a place in the patient; found none \(ImagePositionPatient\)"),
        ({"PixelSpacing": None, "ImageOrientationPatient": None}, r"none \(ImageOrientationPatient, PixelSpacing\)"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two directions of length 1 at right angles"),
        ({"ImageOrientationPatient": [2, 0, 0, 0, 1, 0]}, "two directions of length 1 at right angles"),
        ({"PixelSpacing": [0.5, 0]}, "a distance above 0 between pixels; found 0.5 x 0"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a scan of a patient; found a localizer"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "MOSAIC"]}, "slices beside each other in one"),
        ({"SamplesPerPixel": 3}, "grey values; found a picture of colours"),
        ({"NumberOfFrames": 2}, "found 2 frames, 1 with a place"),
    ],
)
def test_an_image_that_cannot_be_placed_is_refused(tmp_path: Path, elements: dict[str, object], message: str) -> None:
    with pytest.raises(ScanError, match=message):
        read_frames(write_slice(tmp_path / "a", PIXELS, (0, 0, 0), **elements))


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.22", "a report"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "a document"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "a segmentation"),
        ("1.2.840.10008.5.1.4.1.1.481.2", "a dose distribution"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "a plan or structures of radiotherapy"),
    ],
)
def test_what_is_no_image_of_a_patient_says_what_it_is(tmp_path: Path, kind: str, found: str) -> None:
    with pytest.raises(NoScanError, match=f"a scan of a patient; found {found}"):
        read_frames(write_slice(tmp_path / "a", PIXELS, (0, 0, 0), SOPClassUID=kind))


@pytest.mark.parametrize("length", [0, 100, 140, 200, 400])
def test_what_is_cut_off_or_something_else_is_refused(tmp_path: Path, length: int) -> None:
    path = write_slice(tmp_path / "a", PIXELS, (0, 0, 0))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ScanError):  # which one depends on where it was cut
        read_frames(path)


def test_an_error_names_no_patient(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a", PIXELS, (0, 0, 0), PatientName="Doe^Jane", PixelSpacing=None)
    with pytest.raises(ScanError) as caught:
        read_frames(path)
    assert "Doe" not in str(caught.value)


def test_what_a_library_says_of_a_value_is_not_passed_on(tmp_path: Path) -> None:
    content = write_slice(tmp_path / "a", PIXELS, (0, 0, 0)).read_bytes()
    (tmp_path / "a").write_bytes(content.replace(b"0.5\\0.75", b"Doe^Jane"))  # PixelSpacing
    with pytest.raises(ScanError) as caught:
        read_frames(tmp_path / "a")
    assert "Doe" not in str(caught.value)
