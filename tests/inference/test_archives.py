"""Zip files among scans: what is in them is found, and nothing in them leads out of them or fills the disk."""

import io
import os
import shutil
import stat
import tempfile
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError, ScanError
from pipeline.inference.archives import Scratch, is_archive, scratch_folder, unpack
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import ANY_FILE, find_cases


def write_zip(path: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def zipped(entries: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def find(source: Path, scratch: Path, gb: float = 1.0) -> list[InputFile]:
    return find_cases(source, None, ANY_FILE, config=InferenceConfig(unpacked_gb=gb), scratch=scratch)


def problems(inputs: list[InputFile]) -> dict[str, str]:
    return {entry.shown: str(entry.problem or "") for entry in inputs}


def test_an_archive_counts_as_a_folder_at_any_depth(tmp_path: Path, scratch: Path) -> None:
    inner = zipped({"c.nii": b"c", ".hidden": b"", "notes.txt": b"x"})
    write_zip(tmp_path / "in" / "study.zip", {"a.nii.gz": b"a", "deep/er/b.nii": b"b", "deep/inner.zip": inner})
    found = find(tmp_path / "in", scratch)
    assert [(entry.case, entry.is_scan) for entry in found] == [
        ("study.zip__a", True),
        ("study.zip__deep__er__b", True),
        ("study.zip__deep__inner.zip__c", True),
        ("study.zip__deep__inner.zip__notes.txt", False),
    ]
    assert found[2].shown == "study.zip/deep/inner.zip/c.nii"
    assert found[2].path.read_bytes() == b"c"
    (tmp_path / "other").mkdir()
    alone = find(tmp_path / "in" / "study.zip", tmp_path / "other")
    assert [entry.case for entry in alone if entry.is_scan] == ["a", "deep__er__b", "deep__inner.zip__c"]


def test_without_a_place_to_unpack_archives_are_skipped(tmp_path: Path) -> None:
    write_zip(tmp_path / "a.zip", {"a.nii": b""})
    (tmp_path / "b.nii").touch()
    assert [(entry.case, entry.is_scan) for entry in find_cases(tmp_path, None, ANY_FILE)] == [
        ("a.zip", False),
        ("b", True),
    ]


def test_documents_that_are_archives_are_not_looked_into(tmp_path: Path) -> None:
    for name, expected in (
        ("a.zip", True),
        ("b.ZIP", True),
        ("c", True),
        ("1.2.840.5", True),
        ("d.docx", False),
        ("e.npz", False),
    ):
        assert is_archive(write_zip(tmp_path / name, {"a.nii": b""})) == expected


@pytest.mark.parametrize("name", ["../evil.nii", "/evil.nii", "a/../../evil.nii", "..\\evil.nii", "C:\\evil.nii"])
def test_a_path_that_leads_out_of_an_archive_is_a_failed_row_and_writes_nothing(
    tmp_path: Path, scratch: Path, name: str
) -> None:
    write_zip(tmp_path / "in" / "study.zip", {name: b"evil", "good.nii": b"good"})
    found = find(tmp_path / "in", scratch)
    assert sorted(bool(entry.problem) for entry in found) == [False, True]
    assert "a path that leads out of it" in str(next(entry.problem for entry in found if entry.problem))
    assert [path for path in tmp_path.rglob("*evil*") if path.is_file()] == []
    assert all("/" not in entry.case for entry in found)


def test_a_case_is_never_called_after_a_folder_above(tmp_path: Path, scratch: Path) -> None:
    write_zip(tmp_path / "a.zip", {"..": b"", ".": b"", "b.nii": b"b"})
    assert {entry.case for entry in find(tmp_path / "a.zip", scratch)} & {"", ".", ".."} == set()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_entry_of_any_compression_fails_alone(tmp_path: Path, scratch: Path, compression: int) -> None:
    path = write_zip(tmp_path / "in" / "a.zip", {"a.nii": bytes(range(256)) * 40, "b.nii": b"b"}, compression)
    content = bytearray(path.read_bytes())
    for place in range(60, 160):
        content[place] ^= 0xA5
    path.write_bytes(content)
    found = problems(find(tmp_path / "in", scratch))
    assert "a whole file; found one that is damaged" in found["a.zip/a.nii"]
    assert found["a.zip/b.nii"] == ""
    assert [path.name for path in scratch.rglob("*.nii")] == ["b.nii"]  # of the damaged one nothing is left


@given(st.data())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_damaged_archive_is_unpacked_or_refused(data: st.DataObject) -> None:
    content = bytearray(zipped({"a.nii": b"a" * 50, "b/c.nii": b"c"}))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "scratch").mkdir()
        path = Path(folder) / "a.zip"
        path.write_bytes(content)
        with suppress(ScanError):
            unpack(path, Scratch.of(Path(folder) / "scratch", 1e-3))


def test_links_in_an_archive_are_not_made(tmp_path: Path, scratch: Path) -> None:
    entry = zipfile.ZipInfo("link.nii")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        archive.writestr(entry, "/etc/passwd")
        archive.writestr("b.nii", b"b")
    assert "a link or a device" in problems(find(tmp_path / "in", scratch))["a.zip/link.nii"]
    assert not any(path.is_symlink() for path in scratch.rglob("*"))


def test_archives_that_would_fill_the_disk_are_refused_before_they_do(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "z.nii").touch()
    write_zip(tmp_path / "in" / "zeros.zip", {"a.nii": bytes(200 * 2**20)})
    write_zip(tmp_path / "in" / "large.zip", {"a.nii": bytes(2**20)})
    found = problems(find(tmp_path / "in", scratch, gb=1e-3))
    assert "zip files that unpack to inference.unpacked_gb at most" in found["large.zip"]
    assert "inference.unpacked_gb" in found["zeros.zip"]
    shutil.rmtree(scratch)
    scratch.mkdir()
    assert "a zip bomb?" in problems(find(tmp_path / "in", scratch))["zeros.zip"]
    assert sum(path.stat().st_size for path in scratch.rglob("*") if path.is_file()) == 2**20  # of large.zip


def test_the_bound_holds_for_all_archives_together(tmp_path: Path, scratch: Path) -> None:
    for name in ("a.zip", "b.zip"):
        write_zip(tmp_path / "in" / name, {"x.nii": bytes(600_000)})
    found = find(tmp_path / "in", scratch, gb=1e-3)
    assert [(entry.shown, entry.problem is None) for entry in found] == [("a.zip/x.nii", True), ("b.zip", False)]


def test_an_archive_too_deep_inside_others_is_refused(tmp_path: Path, scratch: Path) -> None:
    content = zipped({"a.nii": b""})
    for _ in range(5):
        content = zipped({"x.zip": content, "b.nii": b""})
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "x.zip").write_bytes(content)
    found = find(tmp_path / "in", scratch)
    assert sum(entry.problem is None for entry in found) == 4
    assert "within 4 others" in str(next(entry.problem for entry in found if entry.problem))


def test_a_damaged_archive_a_damaged_entry_and_one_with_a_password_say_so(tmp_path: Path, scratch: Path) -> None:
    whole = write_zip(tmp_path / "in" / "a.zip", {"a.nii": b"a" * 1000, "b.nii": b"b"}, zipfile.ZIP_STORED)
    content = bytearray(whole.read_bytes())
    (tmp_path / "in" / "cut.zip").write_bytes(content[:500])
    content[100] ^= 1
    (tmp_path / "in" / "flipped.zip").write_bytes(content)
    content = bytearray(whole.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "in" / "locked.zip").write_bytes(content)
    found = problems(find(tmp_path / "in", scratch))
    assert "a whole zip file; found one that is damaged" in found["cut.zip"]
    assert "a whole file; found one that is damaged" in found["flipped.zip/a.nii"]
    assert (found["flipped.zip/b.nii"], found["a.zip/a.nii"]) == ("", "")
    assert "a zip file without a password" in found["locked.zip"]


def test_of_two_entries_of_one_name_the_second_is_told(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "in").mkdir()
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        archive.writestr("a.nii", b"1")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.nii", b"2")
    found = find(tmp_path / "in", scratch)
    assert sorted(str(entry.problem or "") for entry in found)[1].startswith("Expected one file of a name")


def test_what_was_unpacked_is_gone_afterwards(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.nii": b""})
    with scratch_folder() as folder:
        unpack(path, Scratch.of(folder, 1.0))
        assert list(folder.rglob("a.nii"))
    assert not folder.exists()


def test_what_a_killed_process_left_goes_and_what_a_living_one_works_on_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for name in ("medseg-scans-left", "medseg-scans-young", "medseg-scans-alive", "medseg-scans-of-others"):
        (tmp_path / name / "unpacked").mkdir(parents=True)
        if name != "medseg-scans-of-others":
            (tmp_path / name / "lock").touch()
        if name != "medseg-scans-young":
            os.utime(tmp_path / name, (0, 0))
    with FileLock(tmp_path / "medseg-scans-alive" / "lock"), scratch_folder():
        pass
    assert {path.name.removeprefix("medseg-scans-") for path in tmp_path.iterdir()} == {"young", "alive", "of-others"}


def test_an_archive_without_a_scan_is_refused(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(DatasetError, match="Expected scans"):
        find(write_zip(tmp_path / "a.zip", {"notes.txt": b""}), scratch)


@settings(deadline=None, derandomize=True)
@given(st.lists(st.text(alphabet=st.sampled_from("./\\:aC~\0é "), max_size=8), max_size=4))
def test_whatever_entries_are_called_files_are_made_inside_alone(names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "scratch").mkdir()
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names that are alike once zipfile has cut them
            for name in names:
                archive.writestr(zipfile.ZipInfo(name or "x"), b"content")
        (root / "a.zip").write_bytes(stream.getvalue())
        try:
            unpack(root / "a.zip", Scratch.of(root / "scratch", 1.0))
        except ScanError:
            return
        finally:
            assert {path.name for path in root.iterdir()} <= {"a.zip", "scratch"}
