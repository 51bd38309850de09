import hashlib
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.files import (
    atomic_path,
    cache_folder,
    file_sha256,
    make_writable,
    write_csv,
    write_json,
    write_text,
    writing_to,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_half(target: Path, error: BaseException) -> None:
    with atomic_path(target) as path:
        path.write_bytes(b"ne")
        raise error


def test_a_file_appears_under_its_name_once_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "new" / "mask.nii.gz"
    with atomic_path(target) as path:
        path.write_bytes(b"voxels")
        assert not target.exists()
        assert path.parent == target.parent  # a rename is atomic within one file system only
        assert path.name.endswith("mask.nii.gz")  # writers choose the format by the ending
    assert target.read_bytes() == b"voxels"
    assert names_in(target.parent) == ["mask.nii.gz"]


@pytest.mark.parametrize("error", [ValueError("no room"), KeyboardInterrupt("no room")])
def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "mask.nii.gz"
    target.write_bytes(b"old")
    with pytest.raises(type(error), match="no room"):
        write_half(target, error)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["mask.nii.gz"]


def test_a_written_file_has_the_permissions_that_the_user_s_umask_gives(tmp_path: Path) -> None:
    writing = "import sys, pathlib, pipeline.files as files; files.write_text(pathlib.Path(sys.argv[1]), 'text')"
    subprocess.run([sys.executable, "-c", writing, tmp_path / "report.html"], check=True, umask=0o027)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o640


def test_reading_the_umask_leaves_it_as_it_was() -> None:
    reading = "import os, pipeline.files as files; print(files.UMASK == os.umask(0) == 0o027)"
    printed = subprocess.run([sys.executable, "-c", reading], check=True, umask=0o027, capture_output=True, text=True)
    assert printed.stdout == "True\n"


def test_text_is_utf_8_and_replaces_what_was_there(tmp_path: Path) -> None:
    write_text(tmp_path / "notes.txt", "old")
    write_text(tmp_path / "notes.txt", "Größe in mm³")
    assert (tmp_path / "notes.txt").read_bytes() == "Größe in mm³".encode()


def test_json_is_indented_and_ends_with_a_line_feed(tmp_path: Path) -> None:
    write_json(tmp_path / "metrics.json", {"mean_dice": None, "cases": [1]})
    assert (tmp_path / "metrics.json").read_text() == '{\n  "mean_dice": null,\n  "cases": [\n    1\n  ]\n}\n'


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_without_a_number_for_it_is_not_written(tmp_path: Path, value: float) -> None:
    write_json(tmp_path / "metrics.json", {"dice": 0.5})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "metrics.json", {"dice": value})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"dice": 0.5}


def test_a_table_leaves_cells_empty_where_a_row_has_nothing(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"case": "a, b", "dice": 0.5}, {"case": "c"}, {"case": "d", "dice": None}]
    write_csv(tmp_path / "cases.csv", ["case", "dice"], rows)
    assert (tmp_path / "cases.csv").read_bytes() == b'case,dice\r\n"a, b",0.5\r\nc,\r\nd,\r\n'


def test_a_row_with_a_column_that_the_header_lacks_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fields not in fieldnames: 'iou'"):
        write_csv(tmp_path / "cases.csv", ["case"], [{"case": "a", "iou": 1}])
    assert names_in(tmp_path) == []


def test_the_hash_of_a_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert (
        file_sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )  # FIPS 180
    large = bytes(3_000_000)
    (tmp_path / "large").write_bytes(large)
    assert file_sha256(tmp_path / "large") == hashlib.sha256(large).hexdigest()


def test_a_folder_is_tried_before_the_work_and_nothing_is_left_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_writable(tmp_path / "new" / "folder")
    assert names_in(tmp_path / "new" / "folder") == []
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"a folder that can be written to; found .*/file: File exists\. Choose an"):
        make_writable(tmp_path / "file")

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pipeline.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(OutputError, match="Read-only file system"):
        make_writable(tmp_path)


def test_what_cannot_be_written_is_an_error_with_a_remedy() -> None:
    with (
        pytest.raises(OutputError, match=r"found out: No space left on device\. Free space there"),
        writing_to(Path("out")),
    ):
        raise OSError(28, "No space left on device")


def test_the_cache_is_where_the_user_says_or_in_the_user_s_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", "/data/cases")
    assert cache_folder() == Path("/data/cases")
    monkeypatch.delenv("MEDSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/xdg")
    assert cache_folder() == Path("/data/xdg/medseg")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert cache_folder() == Path("/home/somebody/.cache/medseg")
