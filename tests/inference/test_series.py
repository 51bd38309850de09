"""Which files of a folder make up a scan of DICOM."""

import importlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from pipeline.config.inference import InferenceConfig
from pipeline.errors import DatasetError
from pipeline.formats.dicom.scans import read_scan
from pipeline.geometry import voxel_spacing_mm
from pipeline.inference import series
from pipeline.inference.batch import InputFile
from pipeline.inference.channels import ANY_FILE, find_cases
from pipeline.inference.readers import Outcome
from tests.conftest import RealData
from tests.formats.dicom_files import write_enhanced, write_slice
from tests.inference.test_batch import touch

PIXELS = np.arange(12, dtype=np.int16).reshape(3, 4)
ECG, REPORT = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.840.10008.5.1.4.1.1.88.11"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DEADLY_HEADERS = """
import os, signal
from pipeline.formats.dicom.frames import look_into

def one(path):
    if path.name == "IM6":
        os.kill(os.getpid(), signal.SIGKILL)
    return look_into(path)

def several(paths):
    return [one(path) for path in paths]
"""
in_this_process = pytest.mark.usefixtures("here")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers are read in this process, which takes a tenth of the time."""

    def call(function: Callable[[Any], Any], items: Iterable[Any], _: InferenceConfig) -> Iterator[Outcome[Any, Any]]:
        for item in items:
            yield Outcome(item, function(item), None, 0.0)

    monkeypatch.setattr(series, "run_isolated", call)


def write_series(folder: Path, places: Sequence[float] = (0, 1, 2), **elements: object) -> Path:
    """Slices whose names sort otherwise than their places."""
    for index, z in enumerate(places):
        write_slice(folder / f"IM{9 - index}", PIXELS + np.int16(100 * index), (0, 0, z), **elements)
    return folder


def find(source: Path, **settings: object) -> list[InputFile]:
    return find_cases(source, None, ANY_FILE, config=InferenceConfig.model_validate(settings))


def described(inputs: Sequence[InputFile]) -> list[tuple[str, bool, str]]:
    """What is shown of each, whether it is a scan, and why it is skipped or fails."""
    return [(entry.shown, entry.is_scan, entry.note or str(entry.problem or "")) for entry in inputs]


def test_the_slices_of_a_series_are_one_scan_called_after_their_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "study" / "ct")
    touch(tmp_path / "in" / "a.nii")
    a, ct = find(tmp_path / "in")
    assert (a.case, a.shown, ct.shown) == ("a", "a.nii", "study/ct (3 files)")
    stem, _, digits = ct.case.rpartition("__")
    assert (stem, len(digits), int(digits, 16) > 0) == ("study__ct", 8, True)
    assert ct.volume is not None
    assert read_scan(ct.volume).array[0, 0, 0].tolist() == [0, 100, 200]
    (alone,) = find(tmp_path / "in" / "study" / "ct")
    assert (alone.case, alone.shown) == (digits, ". (3 files)")


@in_this_process
def test_a_file_of_many_frames_is_called_after_itself(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "scan.dcm", np.stack([PIXELS] * 3), [(0, 0, z) for z in (0, 1, 2)])
    for source in (tmp_path, tmp_path / "scan.dcm"):
        (entry,) = find(source)
        assert (entry.case[:6], entry.shown, entry.problem) == ("scan__", "scan.dcm", None)


@in_this_process
def test_several_series_in_a_folder_are_several_scans(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_series(tmp_path / name, SeriesInstanceUID=generate_uid(entropy_srcs=[name]))
        for path in (tmp_path / name).iterdir():
            path.rename(tmp_path / f"{name}{path.name}")
    inputs = find(tmp_path)
    assert [len(entry.paths) for entry in inputs] == [3, 3]
    assert len({entry.case for entry in inputs}) == 2


@in_this_process
def test_a_series_in_several_folders_is_one_scan_and_its_copies_are_several(tmp_path: Path) -> None:
    whole = write_series(tmp_path / "whole" / "study")
    shutil.copytree(whole, tmp_path / "copied" / "one" / "x")
    shutil.copytree(whole, tmp_path / "copied" / "two" / "x")
    assert [entry.case.rpartition("__")[0] for entry in find(tmp_path / "copied")] == ["one__x", "two__x"]
    (whole / "deeper").mkdir()
    (whole / "IM9").rename(whole / "deeper" / "IM9")
    (entry,) = find(tmp_path / "whole")
    assert (entry.shown, entry.problem) == ("study (3 files)", None)


@in_this_process
def test_what_is_no_scan_is_skipped_and_says_what_it_is(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "loc", (0, 9), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2")
    write_slice(tmp_path / "report", PIXELS, (0, 0, 0), SOPClassUID=REPORT, SeriesInstanceUID="1.3")
    no_place = {"ImagePositionPatient": None, "ImageOrientationPatient": None}
    write_slice(tmp_path / "screen", PIXELS, (0, 0, 0), SOPClassUID=CAPTURE, SeriesInstanceUID="1.4", **no_place)
    assert described(find(tmp_path)) == [
        ("ct (3 files)", True, ""),
        ("loc (2 files)", False, "a localizer"),
        ("report", False, "a report (SR)"),
        ("screen", False, "a picture without a place in the patient (secondary capture)"),
    ]


@in_this_process
def test_a_series_that_lacks_a_slice_says_where(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", (0, 1, 2, 3))
    (tmp_path / "ct" / "IM8").unlink()
    (ct,) = find(tmp_path)
    assert "none between 0.00 and 2.00 mm" in str(ct.problem)


@in_this_process
def test_a_series_with_a_damaged_file_fails_though_no_gap_shows_that_it_is_missing(tmp_path: Path) -> None:
    last = write_series(tmp_path / "ct", (0, 1, 2, 3)) / "IM6"
    content = last.read_bytes()
    last.write_bytes(content[: content.index(b"\x28\x00\x10\x00")])  # before its number of rows
    ct, file = sorted(find(tmp_path), key=lambda entry: -len(entry.paths))
    assert str(ct.problem).startswith("Expected every file of the series; found damaged ones: ct/IM6.")
    assert (file.shown, file.problem is None) == ("ct/IM6", False)


@in_this_process
def test_a_damaged_file_that_may_be_of_a_series_beside_it_makes_that_doubtful(tmp_path: Path) -> None:
    damaged = write_series(tmp_path / "ct", (0, 1, 2, 3)) / "IM6"
    damaged.write_bytes(damaged.read_bytes()[:200])
    write_series(tmp_path / "mr", SeriesInstanceUID="1.3")
    found = {entry.shown: entry for entry in find(tmp_path)}
    assert found["ct (3 files)"].doubts == ("ct/IM6 cannot be read, and may be a slice of it",)
    assert (found["mr (3 files)"].doubts, found["ct/IM6"].problem is None) == ((), False)


@in_this_process
def test_a_file_that_cannot_be_opened_fails_alone(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "mr").mkdir()
    (tmp_path / "mr" / "a.dcm").symlink_to(tmp_path / "not fetched")
    ct, mr = find(tmp_path)
    assert (ct.problem, ct.doubts, mr.case, "No such file" in str(mr.problem)) == (None, (), "mr__a", True)


@in_this_process
@pytest.mark.parametrize("name", ["IM6", "IM6.dcm"])
@pytest.mark.parametrize("content", [b"", bytes(3000)])
def test_an_empty_file_beside_a_series_makes_it_doubtful(tmp_path: Path, name: str, content: bytes) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "ct" / name).write_bytes(content)
    ct = next(entry for entry in find(tmp_path) if entry.volume is not None)
    assert ct.doubts == (f"ct/{name} cannot be read, and may be a slice of it",)


@in_this_process
def test_a_damaged_slice_in_a_zip_file_makes_its_series_doubtful(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", (0, 1, 2, 3))
    path = Path(shutil.make_archive(str(tmp_path / "a"), "zip", tmp_path / "ct"))
    content = bytearray(path.read_bytes())
    start = content.index(b"IM6")
    for place in range(start + 100, start + 200):
        content[place] ^= 0xFF
    path.write_bytes(content)
    (tmp_path / "scratch").mkdir()
    found = find_cases(path, None, ANY_FILE, scratch=tmp_path / "scratch")
    (ct,) = [entry for entry in found if entry.volume is not None]
    assert (ct.problem, ct.doubts) == (None, ("IM6 cannot be read, and may be a slice of it",))


@in_this_process
def test_a_slice_without_a_place_makes_its_series_doubtful(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_slice(tmp_path / "ct" / "IM6", PIXELS, (0, 0, 3), ImagePositionPatient=None)
    ct = next(entry for entry in find(tmp_path) if entry.volume is not None)
    assert ct.doubts == ("ct/IM6 of its series cannot be used",)


@in_this_process
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    os.mkfifo(tmp_path / "pipe.dcm")
    ct, pipe = find(tmp_path)
    assert (ct.doubts, "a pipe or a device" in str(pipe.problem)) == ((), True)


def test_headers_that_a_process_dies_of_fail_alone_and_their_series_is_doubtful(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "ct")
    deadly = write_slice(tmp_path / "ct" / "IM6", PIXELS, (0, 0, 3))
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "deadly_headers.py").write_text(DEADLY_HEADERS)
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    functions = importlib.import_module("deadly_headers")
    monkeypatch.setattr(series, "look_into", functions.one)
    monkeypatch.setattr(series, "look_into_several", functions.several)
    ct, file = sorted(find(tmp_path / "ct"), key=lambda entry: -len(entry.paths))
    assert (ct.shown, ct.problem, ct.doubts) == (". (3 files)", None, ("IM6 cannot be read, and may be a slice of it",))
    assert (file.path, "crashed" in str(file.problem)) == (deadly, True)


@in_this_process
def test_what_only_begins_like_dicom_is_no_scan(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    (tmp_path / "data").write_bytes(b"\x02\x00\x00\x00" + os.urandom(500))
    assert described(find(tmp_path)) == [("ct (3 files)", True, ""), ("data", False, "not a scan")]


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({"modalities": ["MR"]}, ["mr"]),
        ({"description": "*CONTRAST*"}, ["ct"]),
        ({"uids": ["1.3"]}, ["mr"]),
        ({"modalities": ["CT"], "uids": ["1.3"]}, []),
    ],
)
@in_this_process
def test_series_are_chosen_by_modality_description_or_uid(
    tmp_path: Path, settings: dict[str, object], chosen: list[str]
) -> None:
    write_series(tmp_path / "ct", SeriesInstanceUID="1.2", SeriesDescription="Liver with contrast")
    write_series(tmp_path / "mr", SeriesInstanceUID="1.3", SeriesDescription="T1", Modality="MR")
    touch(tmp_path / "z.nii")
    ct, mr, z = find(tmp_path, series=settings)
    assert [entry.shown.partition(" ")[0] for entry in (ct, mr) if entry.is_scan] == chosen
    assert {entry.note for entry in (ct, mr) if not entry.is_scan} <= {
        f"a series that inference.series leaves out (its modality: {modality})" for modality in ("CT", "MR")
    }
    assert z.is_scan


@in_this_process
def test_what_cannot_be_read_of_a_series_that_is_not_wanted_is_skipped(tmp_path: Path) -> None:
    write_series(tmp_path / "ct")
    write_slice(tmp_path / "us" / "a", PIXELS, (0, 0, 0), Modality="US", SeriesInstanceUID="1.9", SamplesPerPixel=3)
    assert [entry.problem is None for entry in find(tmp_path)] == [True, False]
    _, us = find(tmp_path, series={"modalities": ["CT"]})
    assert (us.is_scan, us.problem, us.note) == (
        False,
        None,
        "a series that inference.series leaves out (its modality: US)",
    )


@in_this_process
def test_a_folder_of_reports_has_no_scan(tmp_path: Path) -> None:
    write_slice(tmp_path / "report", PIXELS, (0, 0, 0), SOPClassUID=REPORT)
    with pytest.raises(DatasetError, match="Expected scans"):
        find(tmp_path)


@in_this_process
def test_series_of_two_patients_under_one_uid_are_not_mixed(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a", (0, 2, 4), PatientID="1")
    write_series(tmp_path / "in" / "b", (1, 3, 5), PatientID="2")
    for entry in find(tmp_path):
        assert (entry.shown in {"in/a (3 files)", "in/b (3 files)"}, entry.problem) == (True, None)


@in_this_process
def test_real_series_are_found(real_data: RealData) -> None:
    root = real_data("dicom")
    inputs = find(root)
    assert {entry.problem for entry in inputs} == {None}
    folders = [path for path in root.glob("*/*") if path.is_dir()]
    shown = [f"{path.relative_to(root)} ({len(list(path.iterdir()))} files)" for path in folders]
    assert sorted(entry.shown for entry in inputs) == sorted(shown)
    whole = [entry.volume for entry in inputs if entry.shown.startswith("Study3") and "Crop" not in entry.shown]
    for volume in whole:
        assert volume is not None
        assert voxel_spacing_mm(volume.header.affine)[2] == pytest.approx(6.5, abs=0.01)  # SliceThickness says 5
