"""Which files of a folder are scans."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.commands.prediction_record import FILE_NAME
from pipeline.commands.prediction_watch import LOG, STATUS
from pipeline.commands.prediction_worklist import REPORT, TABLE
from pipeline.errors import DatasetError
from pipeline.files import write_json
from pipeline.formats import registry
from pipeline.inference.batch import RESERVED, find_inputs


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_masks_in_an_output_inside_the_input_are_no_scans(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    touch(tmp_path / "masks" / "a" / "mask.nii.gz")
    assert [entry.case for entry in find_inputs(tmp_path, tmp_path / "masks")] == ["a"]
    assert [entry.case for entry in find_inputs(tmp_path)] == ["a", "masks__a__mask"]


def test_cases_come_in_the_order_of_their_names_from_any_depth(tmp_path: Path) -> None:
    for name in ("b/2.nii", "b/10.nii", "a.nii", "c.nii", "b/deep/er/1.nii", ".hidden/x.nii", "b/.x.nii"):
        touch(tmp_path / "in" / name)
    cases = ["a", "b__10", "b__2", "b__deep__er__1", "c"]
    assert [entry.case for entry in find_inputs(tmp_path / "in")] == cases


def test_links_are_followed_and_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere" / "a.nii")
    touch(tmp_path / "in" / "b.nii")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    assert [entry.case for entry in find_inputs(tmp_path / "in")] == ["b", "linked__a"]


def test_a_link_to_a_scan_that_is_not_there_is_a_scan_and_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").symlink_to(tmp_path / "not fetched")
    (entry,) = find_inputs(tmp_path)
    assert (entry.case, entry.is_scan) == ("a", True)


def test_a_folder_that_cannot_be_listed_is_a_failed_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "a.nii")
    touch(tmp_path / "study" / "locked" / "b.nii")
    listing = Path.iterdir

    def refuse(folder: Path) -> Iterator[Path]:
        if folder.name == "locked":
            raise PermissionError(13, "Permission denied")
        return listing(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    a, locked = find_inputs(tmp_path)
    assert (a.problem, locked.case) == (None, "study__locked")
    assert str(locked.problem) == (
        "Expected a folder that can be listed; found one that is not (Permission denied). "
        "Check its permissions; scans in it are not known."
    )


def test_input_and_output_cannot_be_one_folder(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii.gz")
    with pytest.raises(DatasetError, match="an OUTPUT apart from INPUT"):
        find_inputs(tmp_path, tmp_path)


def test_a_single_file_that_is_no_scan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Expected a scan .* found .*notes\.txt"):
        find_inputs(touch(tmp_path / "notes.txt"))


def test_dicom_is_known_by_its_content_or_its_ending(tmp_path: Path) -> None:
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "a.png").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "bare").write_bytes(b"\x08\x00\x05\x00CS")
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "notes").write_bytes(bytes(132))
    found = {entry.path.name: (entry.is_dicom, entry.is_scan) for entry in find_inputs(tmp_path)}
    assert found.pop("notes") == (False, False)
    assert found == dict.fromkeys(("IM0001", "a.png", "bare", "empty.dcm"), (True, True))


@pytest.mark.parametrize("name", ["a.mif", "a.svs", "a.par", "a.webp"])
def test_a_scan_of_a_format_that_is_not_read_is_a_failed_case_even_where_it_cannot_be_opened(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).symlink_to(tmp_path / "not fetched")
    (entry,) = find_inputs(tmp_path)
    assert (entry.case, entry.is_scan) == ("a", True)
    assert entry.problem is not None


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("scan.hdr", "scan.img"),
        ("scan.HDR", "scan.IMG.gz"),
        ("scan+orig.HEAD", "scan+orig.BRIK.gz"),
        ("a.mhd", "a.raw"),
    ],
)
def test_a_scan_in_two_files_is_one_case(tmp_path: Path, first: str, second: str) -> None:
    touch(tmp_path / first)
    touch(tmp_path / second)
    entries = {entry.path.name: entry for entry in find_inputs(tmp_path)}
    assert (entries[first].is_scan, entries[first].problem) == (True, None)
    assert (entries[second].is_scan, entries[second].note) == (False, f"a part of {first}")
    assert (entries[first].case, entries[second].case) == (registry.case_name(tmp_path / first), second)
    (entry,) = find_inputs(tmp_path / second)
    assert entry.path == tmp_path / first


@pytest.mark.parametrize("name", ["scan.hdr", "scan.img", "scan.IMG.gz", "scan+orig.HEAD", "scan+orig.BRIK"])
def test_either_half_of_a_scan_in_two_files_is_a_case_that_its_reader_refuses(tmp_path: Path, name: str) -> None:
    (entry,) = find_inputs(touch(tmp_path / name).parent)
    assert (entry.is_scan, entry.problem) == (True, None)


@pytest.mark.parametrize(
    "name", ["scan.nrrd", "scan.MHA", "scan.brik.gz", "scan.nii.gz", "scan.png", "scan.mif", "scan.mgh.gz"]
)
def test_a_case_is_called_the_same_whatever_its_format(tmp_path: Path, name: str) -> None:
    (entry,) = find_inputs(touch(tmp_path / "in" / "visit" / name).parent.parent)
    assert entry.case == "visit__scan"


def test_of_two_files_that_would_be_one_case_neither_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "scan.nii.gz")
    touch(tmp_path / "scan.nrrd")
    for entry in find_inputs(tmp_path):
        assert str(entry.problem) == "Expected one file a case; found scan.nii.gz and scan.nrrd. Rename one of them."


def test_a_picture_beside_a_volume_of_its_name_is_no_case(tmp_path: Path) -> None:
    touch(tmp_path / "scan.nii.gz")
    touch(tmp_path / "scan.png")
    nifti, png = find_inputs(tmp_path)
    assert (nifti.is_scan, nifti.problem) == (True, None)
    assert (png.case, png.is_scan, png.note) == ("scan.png", False, "a picture beside scan.nii.gz")


def test_of_two_pictures_of_one_name_neither_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "scan.jpg")
    touch(tmp_path / "scan.png")
    for entry in find_inputs(tmp_path):
        assert str(entry.problem) == "Expected one file a case; found scan.jpg and scan.png. Rename one of them."


def test_a_scan_without_an_ending_is_told_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"NRRD0004\n")
    (tmp_path / "b.001").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "c").write_bytes(b"II*\x00")  # TIFF has too many private relatives to go by these four bytes
    (tmp_path / "d.nrrd.bak").write_bytes(b"NRRD0004\n")
    entries = [(entry.case, entry.is_scan) for entry in find_inputs(tmp_path)]
    assert entries == [("a", True), ("b.001", True), ("c", False), ("d.nrrd.bak", False)]


def test_a_name_that_is_no_utf8_becomes_one_that_can_be_written_down(tmp_path: Path) -> None:
    for name in (b"M\xfcller.nii", b"M\xfcller.txt"):
        touch(tmp_path / os.fsdecode(name))
    assert [(entry.case, entry.is_scan) for entry in find_inputs(tmp_path)] == [
        ("M%FCller", True),
        ("M%FCller.txt", False),
    ]


def test_a_link_to_itself_is_no_folder_to_follow(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "loop.nii").symlink_to("loop.nii")
    cases = [(entry.case, entry.is_scan) for entry in find_inputs(tmp_path, tmp_path / "out")]
    assert cases == [("a", True), ("loop", False), ("loop", True)]


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    touch(tmp_path / "a.nii")
    os.mkfifo(tmp_path / "pipe")
    assert [(entry.case, entry.is_scan) for entry in find_inputs(tmp_path)] == [("a", True), ("pipe", False)]


def test_a_folder_that_can_be_listed_and_not_entered_is_a_failed_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path / "a.nii")
    touch(tmp_path / "study" / "IM0001")
    status = Path.lstat

    def refuse(path: Path) -> os.stat_result:
        if path.parent.name == "study":
            raise PermissionError(13, "Permission denied")
        return status(path)

    monkeypatch.setattr(Path, "lstat", refuse)
    assert [(entry.case, entry.problem is None) for entry in find_inputs(tmp_path)] == [("a", True), ("study", False)]


def test_what_a_folder_of_predictions_has_of_its_own_is_the_name_of_no_case(tmp_path: Path) -> None:
    for name in (*RESERVED, "Cases.CSV"):
        (tmp_path / f"{name}.nii").touch()
    assert {entry.case for entry in find_inputs(tmp_path)} == {f"{name}_" for name in (*RESERVED, "Cases.CSV")}
    assert {TABLE, REPORT, STATUS, LOG, FILE_NAME} == RESERVED


def test_predictions_below_the_input_are_no_scans(tmp_path: Path) -> None:
    for name in ("a.nii", "out/a/mask.nii", "data/b.nii"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    write_json(tmp_path / "out" / FILE_NAME, {"medseg_version": "0.1.0", "cases": {}})
    write_json(tmp_path / "data" / FILE_NAME, {"another": "manifest"})
    scans = [entry.case for entry in find_inputs(tmp_path) if entry.is_scan]
    assert scans == ["a", "data__b"]
