from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.layouts.scan_files import case_name, entries, index, list_scans


def test_scans_are_told_from_other_files_by_their_endings_in_either_case(tmp_path: Path) -> None:
    for name in ("b.nii", "a.nii.gz", "C.NII.GZ", "d.PNG", "a.json", "nii", ".hidden.nii"):
        (tmp_path / name).touch()
    (tmp_path / "folder.nii").mkdir()
    listing = list_scans(tmp_path)
    assert [path.name for path in listing.scans] == ["C.NII.GZ", "a.nii.gz", "b.nii", "d.PNG"]
    assert [path.name for path in listing.ignored] == ["a.json", "nii"]


def test_the_second_file_of_a_scan_is_neither_a_scan_nor_left_out(tmp_path: Path) -> None:
    for name in ("a.HEAD", "a.BRIK.gz", "b.hdr", "b.img", "c.mhd", "c.raw", "d.raw", "e.img"):
        (tmp_path / name).touch()
    listing = list_scans(tmp_path)
    assert [path.name for path in listing.scans] == ["a.HEAD", "b.hdr", "c.mhd", "e.img"]
    assert [path.name for path in listing.ignored] == ["d.raw"]


def test_a_link_that_leads_nowhere_is_listed_for_the_checks_to_report(tmp_path: Path) -> None:
    (tmp_path / "a.nii").symlink_to(tmp_path / "gone.nii")
    assert list_scans(tmp_path).scans == (tmp_path / "a.nii",)


def test_a_folder_that_does_not_exist_holds_nothing(tmp_path: Path) -> None:
    assert list_scans(tmp_path / "none").scans == ()


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match=r"a readable folder; found .*file: Not a directory"):
        entries(tmp_path / "file")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.b.nii.gz", "a.b"),
        ("a.nii", "a"),
        ("a.mha", "a"),
        ("a+orig.BRIK.gz", "a+orig"),
        ("a.dcm", "a"),
        ("a.txt", "a.txt"),
    ],
)
def test_a_case_is_called_after_its_file_without_the_ending_of_the_format(file: str, name: str) -> None:
    assert case_name(Path("folder") / file) == name


def test_files_are_found_by_the_name_of_their_case(tmp_path: Path) -> None:
    assert index([tmp_path / "a.nii", tmp_path / "b.nii.gz"]) == {"a": tmp_path / "a.nii", "b": tmp_path / "b.nii.gz"}
