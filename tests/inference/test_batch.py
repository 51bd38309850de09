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
    assert str(dicom.problem) == "Expected NIfTI (.nii, .nii.gz); found DICOM. Convert it to NIfTI."
    assert (dicom.is_scan, notes.is_scan) == (True, False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("scan.hdr", "Analyze or paired NIfTI"),
        ("scan.img", "Analyze or paired NIfTI"),
        ("scan.IMG.gz", "Analyze or paired NIfTI"),
        ("scan+orig.HEAD", "AFNI"),
        ("scan+orig.BRIK", "AFNI"),
        ("scan+orig.BRIK.gz", "AFNI"),
    ],
)
def test_either_half_of_a_scan_in_two_files_is_a_scan_that_is_not_read(tmp_path: Path, name: str, kind: str) -> None:
    (entry,) = find_inputs(touch(tmp_path / name).parent)
    assert entry.is_scan
    assert str(entry.problem) == f"Expected NIfTI (.nii, .nii.gz); found {kind}. Convert it to NIfTI."


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.MHA", "scan.brik.gz", "scan.nii.gz"])
def test_a_case_is_called_the_same_whether_its_format_is_read_yet_or_not(tmp_path: Path, name: str) -> None:
    (entry,) = find_inputs(touch(tmp_path / "in" / "visit" / name).parent.parent)
    assert entry.case == "visit__scan"


def test_of_two_files_that_would_be_one_case_neither_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "scan.nii.gz")
    touch(tmp_path / "scan.nrrd")
    nifti, nrrd = find_inputs(tmp_path)
    assert str(nifti.problem) == "Expected one file a case; found scan.nii.gz and scan.nrrd. Rename one of them."
    assert str(nrrd.problem) == "Expected NIfTI (.nii, .nii.gz); found NRRD. Convert it to NIfTI."
