from pathlib import Path

import pytest

from pipeline.errors import DatasetError
from pipeline.inference.channels import ChannelFiles, find_cases
from tests.trees import touch

BRATS = ChannelFiles(("{case}/Flair", "{case}/T1c"), ("FLAIR", "T1c"))
NNUNET = ChannelFiles(("{case}_0000", "{case}_0001"), ("FLAIR", "T1c"))


def shown(source: Path, channels: ChannelFiles) -> list[tuple[str, list[str], str | None]]:
    """Of each case: its name, its files, and what is wrong with it."""
    cases = [case for case in find_cases(source, None, channels) if case.is_scan]
    files = [[path.relative_to(source).as_posix() for path in case.paths] for case in cases]
    problems = [None if case.problem is None else str(case.problem) for case in cases]
    return list(zip([case.case for case in cases], files, problems, strict=True))


def test_the_files_of_a_case_are_joined_in_the_order_of_the_channels(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1c.nii.gz", "a/Flair.nii", "a/mask.nii.gz", "b/Flair.nii.gz", "b/T1c.nii.gz", "b/License.txt")
    assert shown(tmp_path, BRATS) == [
        ("a", ["a/Flair.nii", "a/T1c.nii.gz"], None),
        ("b", ["b/Flair.nii.gz", "b/T1c.nii.gz"], None),
    ]


def test_files_beside_the_channels_are_passed_over_and_say_so(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1c.nii.gz", "a/Flair.nii", "a/mask.nii.gz")
    (other,) = [case for case in find_cases(tmp_path, None, BRATS) if not case.is_scan]
    assert (other.path.name, other.note) == ("mask.nii.gz", "no channel of the model")


def test_the_folder_of_one_case_and_one_of_its_files_are_that_case(tmp_path: Path) -> None:
    touch(tmp_path, "a/T1c.nii.gz", "a/Flair.nii.gz")
    expected = [("a", ["Flair.nii.gz", "T1c.nii.gz"], None)]
    assert shown(tmp_path / "a", BRATS) == expected
    (case,) = find_cases(tmp_path / "a" / "T1c.nii.gz", None, BRATS)
    assert [path.name for path in case.paths] == ["Flair.nii.gz", "T1c.nii.gz"]


def test_channels_may_be_told_apart_by_their_folder(tmp_path: Path) -> None:
    touch(tmp_path, "flair/p1.nii.gz", "flair/p2.nii.gz", "t1/p1.nii.gz")
    whole, lacking = shown(tmp_path, ChannelFiles(("flair/{case}", "t1/{case}"), ("FLAIR", "T1")))
    assert whole == ("p1", ["flair/p1.nii.gz", "t1/p1.nii.gz"], None)
    assert lacking[0] == "p2"
    assert "none for T1" in (lacking[2] or "")


def test_a_missing_channel_is_named(tmp_path: Path) -> None:
    touch(tmp_path, "a/Flair.nii.gz", "b/T1c.nii.gz", "b/Flair.nii.gz")
    (a, b) = shown(tmp_path, BRATS)
    assert a[2] == (
        "Expected a file for each of the 2 channels; found none for T1c ({case}/T1c). Add it, or correct its name."
    )
    assert b[2] is None


def test_folders_above_a_case_become_part_of_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "site/x_0000.nii.gz", "site/x_0001.nii.gz", "x_0001.nii.gz", "x_0000.nii.gz")
    assert [name for name, *_ in shown(tmp_path, NNUNET)] == ["site__x", "x"]


def test_a_file_that_holds_all_channels_is_a_case_of_its_own(tmp_path: Path) -> None:
    touch(tmp_path, "whole.nii.gz")
    assert shown(tmp_path, NNUNET) == [("whole", ["whole.nii.gz"], None)]


def test_the_working_directory_can_be_the_folder_of_a_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(touch(tmp_path / "a", "T1c.nii.gz", "Flair.nii.gz"))
    assert shown(Path(), BRATS) == [("a", ["Flair.nii.gz", "T1c.nii.gz"], None)]


def test_two_files_of_one_channel_are_a_failed_case(tmp_path: Path) -> None:
    touch(tmp_path, "a/day1_flair.nii", "a/day2_flair.nii", "a/day1_t1.nii")
    channels = ChannelFiles(("{case}/*_flair", "{case}/*_t1"), ("FLAIR", "T1"))
    (case,) = find_cases(tmp_path, None, channels)
    assert "found day1_flair.nii and day2_flair.nii" in str(case.problem)


@pytest.mark.parametrize("name", ["mask.nii.gz", ".Flair.nii.gz"])
def test_a_single_file_that_is_no_channel_is_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "a/T1c.nii.gz", "a/Flair.nii", f"a/{name}")
    with pytest.raises(DatasetError, match="a channel of the model, or a folder of scans"):
        find_cases(tmp_path / "a" / name, None, BRATS)
