"""Which files of a folder are scans."""

from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.inference.batch import find_inputs


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_masks_in_an_output_inside_the_input_are_no_scans(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    touch(tmp_path / "masks" / "a" / "mask.nii.gz")
    assert [entry.case for entry in find_inputs(tmp_path, tmp_path / "masks")] == ["a"]
    assert [entry.case for entry in find_inputs(tmp_path)] == ["a", "masks__a__mask"]


def test_input_and_output_cannot_be_one_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    with pytest.raises(DatasetError, match="an OUTPUT apart from INPUT"):
        find_inputs(tmp_path, tmp_path)


def test_a_single_file_that_is_no_scan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Expected a scan .* found .*notes\.txt"):
        find_inputs(touch(tmp_path / "notes.txt"))


def test_dicom_without_an_ending_is_a_scan_that_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "notes").write_bytes(bytes(132))
    dicom, notes = find_inputs(tmp_path)
    assert dicom.problem == "Expected NIfTI (.nii, .nii.gz); found DICOM. Convert it to NIfTI."
    assert (dicom.is_scan, notes.is_scan) == (True, False)
