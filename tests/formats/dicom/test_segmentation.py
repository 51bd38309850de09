import copy
import subprocess
import sys
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread

from pipeline.formats.dicom.frames import read_frames
from pipeline.formats.dicom.segmentation import RESEARCH, Algorithm, Code, Segment, write_segmentation
from pipeline.formats.dicom.volumes import Volume, find_volumes
from pipeline.formats.itk import LPS_TO_RAS
from tests.formats.dicom_files import write_enhanced, write_slice

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4)
LIVER = Code("SCT", "10200004", "Liver")
SEGMENTS = (Segment("organ", 1, kind=LIVER), Segment("lesion", 4, colour=(0, 0, 255)))
BY = Algorithm("threshold", "1.2.3")


def series(folder: Path, count: int = 5, **elements: object) -> Volume:
    given = {"PatientName": "Doe^Jane"} | elements
    files = [write_slice(folder / f"{z}", PIXELS, (1, 2, 2.5 * z), **given) for z in range(count)]
    (volume,) = find_volumes(frame for path in files for frame in read_frames(path))
    return volume


def in_patient(path: Path, volume: Volume) -> NDArray:
    """The segments' numbers at each voxel of the volume, through highdicom's reader and the positions that it gives."""
    found = highdicom.seg.segread(path).get_volume(combine_segments=True)
    numbers = np.zeros(volume.header.shape, int)
    to_voxel = np.linalg.inv(volume.header.affine) @ LPS_TO_RAS @ found.affine
    for index in np.argwhere(found.array):
        place = np.rint(to_voxel @ [*index, 1])[:3].astype(int)
        numbers[tuple(place)] = found.array[tuple(index)]
    return numbers


@pytest.fixture
def mask() -> NDArray[np.uint8]:
    """Nothing of it is symmetric."""
    mask = np.zeros((4, 3, 5), np.uint8)
    mask[0, 0, 1:4], mask[2:, 1, 3] = 1, 4
    return mask


def test_segments_lie_where_the_mask_has_them(tmp_path: Path, mask: NDArray) -> None:
    volume = series(tmp_path / "ct")
    write_segmentation(tmp_path / "mask.dcm", mask, volume, segments=SEGMENTS, by=BY)
    expected = np.select([mask == 1, mask == 4], [1, 2], 0)
    assert np.array_equal(in_patient(tmp_path / "mask.dcm", volume), expected)


def test_the_object_says_what_it_is_of_whom_and_by_what(tmp_path: Path, mask: NDArray) -> None:
    volume = series(tmp_path / "ct")
    write_segmentation(tmp_path / "mask.dcm", mask, volume, segments=SEGMENTS, by=BY)
    found, source = dcmread(tmp_path / "mask.dcm"), dcmread(volume.frames[0].path)
    assert (found.PatientName, found.Modality, found.ContentDescription) == ("Doe^Jane", "SEG", RESEARCH)
    assert found.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    organ, lesion = found.SegmentSequence
    assert (organ.SegmentLabel, organ.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) == ("organ", "Liver")
    assert (lesion.SegmentLabel, lesion.SegmentedPropertyTypeCodeSequence[0].CodeMeaning) == ("lesion", "Tissue")
    algorithm = organ.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("threshold", "1.2.3")
    assert organ.RecommendedDisplayCIELabValue != lesion.RecommendedDisplayCIELabValue


def test_a_rerun_writes_the_same_object_and_another_mask_another_one(tmp_path: Path, mask: NDArray) -> None:
    volume = series(tmp_path / "ct")
    for name, values in (("a", mask), ("b", mask), ("c", mask[::-1])):
        write_segmentation(tmp_path / name, values, volume, segments=SEGMENTS, by=BY)
    contents = [(tmp_path / name).read_bytes() for name in "abc"]
    assert contents[0] == contents[1]
    assert dcmread(tmp_path / "c").SOPInstanceUID != dcmread(tmp_path / "a").SOPInstanceUID


def test_an_empty_mask_is_a_segmentation_too(tmp_path: Path, mask: NDArray) -> None:
    volume = series(tmp_path / "ct")
    write_segmentation(tmp_path / "mask.dcm", np.zeros_like(mask), volume, segments=SEGMENTS, by=BY)
    assert not in_patient(tmp_path / "mask.dcm", volume).any()
    assert len(dcmread(tmp_path / "mask.dcm").SegmentSequence) == 2


def test_another_reader_finds_the_same_segments(tmp_path: Path, mask: NDArray) -> None:
    volume = series(tmp_path / "ct")
    write_segmentation(tmp_path / "mask.dcm", mask, volume, segments=SEGMENTS, by=BY)
    command = Path(sys.executable).with_name("segimage2itkimage")  # of dcmqi
    files = ["--inputDICOM", str(tmp_path / "mask.dcm"), "--outputDirectory", str(tmp_path)]
    subprocess.run([str(command), *files, "--outputType", "nrrd"], check=True, capture_output=True)
    for number, value in enumerate((1, 4), start=1):
        image = SimpleITK.ReadImage(tmp_path / f"{number}.nrrd")
        found = {tuple(map(float, image.TransformIndexToPhysicalPoint(index))) for index in _marked(image)}
        to_patient = LPS_TO_RAS @ volume.header.affine
        expected = {tuple((to_patient @ [*index, 1])[:3].tolist()) for index in np.argwhere(mask == value)}
        assert found == expected


def _marked(image: SimpleITK.Image) -> list[tuple[int, ...]]:
    """Voxels that are not 0, as SimpleITK counts axes."""
    return [tuple(map(int, index[::-1])) for index in np.argwhere(SimpleITK.GetArrayFromImage(image))]


def test_what_a_series_lacks_of_patient_and_study_is_there_and_empty_and_its_identifiers_are_made_up(
    tmp_path: Path, mask: NDArray
) -> None:
    write_segmentation(tmp_path / "mask.dcm", mask, series(tmp_path / "ct"), segments=SEGMENTS, by=BY)
    found = dcmread(tmp_path / "mask.dcm")
    assert [found[name].value for name in ("PatientID", "PatientBirthDate", "StudyDate")] == ["", "", ""]
    assert found.StudyInstanceUID != found.FrameOfReferenceUID


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        ("", "Doe^Jane"),
        ("ISO_IR 100", "M\xfcller^J\xf6rg"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=\u5c71\u7530^\u592a\u90ce"),
    ],
)
def test_names_in_any_character_set_are_carried_over(
    tmp_path: Path, mask: NDArray, characters: str | list[str], name: str
) -> None:
    volume = series(tmp_path / "ct", SpecificCharacterSet=characters, PatientName=name)
    write_segmentation(tmp_path / "mask.dcm", mask, volume, segments=SEGMENTS, by=BY)
    assert dcmread(tmp_path / "mask.dcm").PatientName == name


def test_an_enhanced_object_may_state_its_spacing_frame_by_frame(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "a", np.stack([PIXELS] * 3), [(0, 0, z) for z in (0, 1, 2)])
    dataset = dcmread(path)
    (shared,) = dataset.SharedFunctionalGroupsSequence
    for own in dataset.PerFrameFunctionalGroupsSequence:
        own.PixelMeasuresSequence, own.PlaneOrientationSequence = (
            copy.deepcopy(shared.PixelMeasuresSequence),
            copy.deepcopy(shared.PlaneOrientationSequence),
        )
    del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
    dataset.save_as(path)
    (volume,) = find_volumes(read_frames(path))
    mask = np.zeros(volume.header.shape, np.uint8)
    mask[1, 2] = 1
    write_segmentation(tmp_path / "mask.dcm", mask, volume, segments=SEGMENTS, by=BY)
    assert in_patient(tmp_path / "mask.dcm", volume).sum() == 3


@pytest.mark.parametrize(("name", "written"), [("x" * 100, "x" * 64), ("a\\b", "a/b"), ("L\xe4sion", "L\xe4sion")])
def test_names_that_dicom_does_not_hold_are_made_to_fit(tmp_path: Path, mask: NDArray, name: str, written: str) -> None:
    volume, by = series(tmp_path / "ct"), Algorithm(name, "1.2.3")
    write_segmentation(tmp_path / "mask.dcm", mask, volume, segments=[Segment(name, 1)], by=by)
    found = dcmread(tmp_path / "mask.dcm")
    assert (found.ManufacturerModelName, found.SegmentSequence[0].SegmentLabel) == (written, written)
    assert found.SeriesDescription.startswith(RESEARCH)
