"""`predict` when nobody looks: it is stopped, killed, started twice, and watched from outside."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from filelock import FileLock
from rich.console import Console

from pipeline.commands import prediction_watch
from pipeline.commands.predict import Options, Predictions, predict
from pipeline.commands.prediction_record import PredictionRecord
from pipeline.commands.prediction_session import Session, case_digest
from pipeline.errors import OutputError
from pipeline.inference.predictor import Predictor
from pipeline.manifest import read_manifest
from pipeline.model import load_model

WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
QUIET = Console(quiet=True)
KILLED_WRITING = """
import os, pathlib, signal, sys
from pipeline.cli import main
replace, left = pathlib.Path.replace, [int(sys.argv.pop(1))]
def kill(self, target):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
pathlib.Path.replace = kill
main()
"""
"""Dies instead of giving the n-th file its name."""


@pytest.fixture
def scans(write_volume: WriteVolume, tmp_path: Path) -> Path:
    """Six scans, each with another organ."""
    for index in range(6):
        image = np.zeros((6, 7, 8), np.int16)
        image[1:3, 2:5, 1 : 3 + index % 5] = 10 + index
        write_volume(tmp_path / "in" / f"{'abcdef'[index]}.nii.gz", image)
    return tmp_path / "in"


def run(model: Path, source: Path, output: Path, **options: Any) -> Predictions:
    loaded = load_model(model)
    inference = loaded.manifest.inference
    return predict(loaded, source, output, config=inference, console=QUIET, options=Options(**options))


def results(output: Path) -> dict[str, bytes]:
    """The files of the cases."""
    return {
        str(path.relative_to(output)): path.read_bytes() for path in sorted(output.glob("*/*")) if path.parent != output
    }


def statuses(output: Path) -> list[str]:
    with (output / "cases.csv").open(newline="", encoding="utf-8") as stream:
        return [row["status"] for row in csv.DictReader(stream)]


# --- Killed


@pytest.mark.parametrize("written", [1, 3, 7, 12])
def test_a_run_that_was_killed_and_given_again_leaves_what_an_undisturbed_one_does(
    write_model: WriteModel, scans: Path, tmp_path: Path, written: int
) -> None:
    model = write_model()
    run(model, scans, tmp_path / "undisturbed")
    command = [sys.executable, "-c", KILLED_WRITING, str(written), "predict", str(model), str(scans)]
    killed = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    run(model, scans, tmp_path / "out")
    assert results(tmp_path / "out") == results(tmp_path / "undisturbed")
    assert [path.name for path in (tmp_path / "out").rglob(".*")] == []
    assert statuses(tmp_path / "out") == ["ok"] * 6


def test_a_scan_that_is_gone_takes_what_a_killed_run_had_begun_to_write_of_it_along(
    write_model: WriteModel, scans: Path, tmp_path: Path
) -> None:
    model = write_model()
    run(model, scans, tmp_path / "out")
    (tmp_path / "out" / "a" / ".partial-1234-mask.nii.gz").write_bytes(b"half")
    (tmp_path / "out" / ".partial-1234-cases.csv").write_bytes(b"half")
    (scans / "a.nii.gz").unlink()
    run(model, scans, tmp_path / "out")
    assert list((tmp_path / "out").rglob(".*")) == []


# --- Stopped


def test_a_request_to_end_is_met_after_the_case_in_hand_and_the_table_names_the_rest(
    write_model: WriteModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked, calls = Predictor.mask, list[int]()

    def ask(self: Predictor, prepared: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return masked(self, prepared)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(Predictor, "mask", ask)
    with pytest.raises(KeyboardInterrupt):
        run(write_model(), scans, tmp_path / "out")
    assert signal.getsignal(signal.SIGTERM) == before
    assert len(calls) == 2
    assert statuses(tmp_path / "out") == ["ok", "ok", *["failed"] * 4]
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    assert [status[key] for key in ("state", "ok", "failed", "finished", "to_do")] == ["stopped", 2, 0, 2, 4]
    monkeypatch.undo()
    assert [row["action"] for row in run(tmp_path / "model", scans, tmp_path / "out").rows] == [
        *["kept"] * 2,
        *["done"] * 4,
    ]


def test_a_request_to_end_during_the_last_case_stops_nothing(
    write_model: WriteModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    masked = Predictor.mask

    def ask(self: Predictor, prepared: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return masked(self, prepared)

    monkeypatch.setattr(Predictor, "mask", ask)
    assert run(write_model(), scans / "a.nii.gz", tmp_path / "out").done == 1
    assert json.loads((tmp_path / "out" / "status.json").read_text())["state"] == "done"


# --- Several at once


def test_two_processes_share_the_cases_and_each_is_done_once(
    write_model: WriteModel, scans: Path, tmp_path: Path
) -> None:
    model = write_model()
    run(model, scans, tmp_path / "alone")
    command = [sys.executable, "-m", "pipeline", "predict", str(model), str(scans), str(tmp_path / "out")]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]
    printed = [process.communicate(timeout=120)[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], printed
    log = (tmp_path / "out" / "medseg.log").read_text()
    assert sorted(re.findall(r" INFO ok (\w): done$", log, re.MULTILINE)) == list("abcdef")
    assert len(re.findall(r" INFO ok (\w): kept$", log, re.MULTILINE)) == 6
    assert results(tmp_path / "out") == results(tmp_path / "alone")
    assert set(json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]) == set("abcdef")
    assert list((tmp_path / "out").rglob(".*")) == []


def test_a_case_that_another_process_gives_up_is_done_here(
    write_model: WriteModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process has begun case b, and ends while this one does its last case."""
    other = FileLock(tmp_path / "out" / ".medseg" / f"{case_digest('b')}.lock", thread_local=False)
    other.acquire()
    masked, calls = Predictor.mask, list[int]()

    def end_other(self: Predictor, prepared: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            other.release()
        return masked(self, prepared)

    monkeypatch.setattr(Predictor, "mask", end_other)
    assert [row["action"] for row in run(write_model(), scans, tmp_path / "out").rows] == ["done"] * 6
    assert len(calls) == 6


def test_a_case_that_has_failed_in_another_process_is_not_tried_again(
    write_model: WriteModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "out" / ".medseg"
    other = FileLock(journal / f"{case_digest('b')}.lock", thread_local=False)
    other.acquire()
    masked, calls, manifest = Predictor.mask, list[int](), read_manifest(write_model())

    def fail_in_other(self: Predictor, prepared: Any) -> Any:
        calls.append(1)
        if len(calls) == 5:
            name = json.loads((journal / "session.json").read_text())["name"]
            PredictionRecord(tmp_path / "out", manifest, manifest.inference).fail("b", "it is broken", session=name)
            other.release()
        return masked(self, prepared)

    monkeypatch.setattr(Predictor, "mask", fail_in_other)
    rows = run(tmp_path / "model", scans, tmp_path / "out").rows
    assert [row["status"] for row in rows] == ["ok", "failed", *["ok"] * 4]
    assert (rows[1]["reason"], len(calls)) == ("it is broken", 5)
    assert "b" not in json.loads((tmp_path / "out" / "manifest.json").read_text())["cases"]
    monkeypatch.undo()
    assert run(tmp_path / "model", scans, tmp_path / "out").failed == 0  # in another run it is


def test_the_record_of_a_failure_that_a_killed_process_left_gives_no_right_to_files_of_others(
    write_model: WriteModel, scans: Path, tmp_path: Path
) -> None:
    manifest, foreign = read_manifest(write_model()), tmp_path / "out" / "b" / "mask.nii.gz"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"drawn by hand")
    PredictionRecord(tmp_path / "out", manifest, manifest.inference).fail("b", "it was broken", session="killed")
    rows = run(tmp_path / "model", scans, tmp_path / "out").rows
    assert [row["status"] for row in rows] == ["ok", "failed", *["ok"] * 4]
    assert foreign.read_bytes() == b"drawn by hand"


def test_files_that_come_to_lie_in_the_folder_of_a_case_meanwhile_stay_and_fail_it(
    write_model: WriteModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file system takes the names of two cases for the same."""
    masked, foreign = Predictor.mask, tmp_path / "out" / "b" / "mask.nii.gz"

    def draw(self: Predictor, prepared: Any) -> Any:
        foreign.parent.mkdir(exist_ok=True)
        foreign.write_bytes(b"of another case")
        return masked(self, prepared)

    monkeypatch.setattr(Predictor, "mask", draw)
    rows = run(write_model(), scans, tmp_path / "out").rows
    assert [row["status"] for row in rows] == ["ok", "failed", *["ok"] * 4]
    assert "files in" in rows[1]["reason"]
    assert foreign.read_bytes() == b"of another case"


def test_an_output_that_another_process_fills_with_other_masks_is_refused_and_left_as_it_is(
    write_model: WriteModel, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    run(write_model(), scans, output)
    other = Session(output)
    with other.starting("other work"):
        pass
    before = (output / "manifest.json").read_bytes()
    with pytest.raises(OutputError, match=r"found .*out, where another one is running with others\. Wait for its end"):
        run(tmp_path / "model", scans, output)
    assert (output / "manifest.json").read_bytes() == before
    with other.leaving():
        pass
    assert run(tmp_path / "model", scans, output).done == 6


# --- Watched


def test_status_and_log_say_how_far_the_work_is(
    write_model: WriteModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_watch, "HEARTBEAT_SECONDS", 0.01)
    masked, seen = Predictor.mask, list[dict[str, Any]]()

    def look(self: Predictor, prepared: Any) -> Any:
        seen.append(json.loads((tmp_path / "out" / "status.json").read_text()))
        return masked(self, prepared)

    monkeypatch.setattr(Predictor, "mask", look)
    (scans / "f.nii.gz").write_bytes(b"")
    run(write_model(), scans, tmp_path / "out")
    assert {(status["state"], status["cases"], status["process"]) for status in seen} == {("running", 6, os.getpid())}
    assert seen[-1]["to_do"] >= 1
    status = json.loads((tmp_path / "out" / "status.json").read_text())
    assert [status[key] for key in ("state", "finished", "to_do", "ok", "failed")] == ["done", 6, 0, 5, 1]
    lines = (tmp_path / "out" / "medseg.log").read_text().splitlines()
    assert "6 inputs, 6 to do" in lines[0]
    assert sum(" INFO ok " in line for line in lines) == 5
    assert any(" INFO failed f: Expected " in line for line in lines)
    assert lines[-1].endswith(" INFO done: 6 cases, 6 finished, 0 to_do, 0 review, 1 failed, 5 ok, 0 skipped")


# --- Names


def test_names_of_any_script_and_any_length_get_their_masks(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    image, deep = np.pad(np.ones((2, 2, 2), np.int16), 1), Path(*["folder" * 20] * 4)
    for name in (
        "\N{GREEK SMALL LETTER ALPHA} \N{CJK UNIFIED IDEOGRAPH-4E2D}\n.nii",
        "x" * 250 + ".nii",
        deep / "a.nii",
    ):
        write_volume(tmp_path / "in" / name, image)
    rows = run(write_model(), tmp_path / "in", tmp_path / "out").rows
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert all((tmp_path / "out" / row["case"] / "mask.nii").exists() for row in rows)
    assert [row["action"] for row in run(tmp_path / "model", tmp_path / "in", tmp_path / "out").rows] == ["kept"] * 3


# --- Cells


def test_no_cell_of_the_table_is_a_formula(write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path) -> None:
    write_volume(tmp_path / "in" / "=1+1.nii", np.ones((4, 4, 4), np.int16))
    run(write_model(), tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out" / "=1+1" / "mask.nii").exists()
    assert (tmp_path / "out" / "cases.csv").read_text().splitlines()[1].startswith("'=1+1,'=1+1.nii,")


def test_a_mask_is_where_its_row_says(write_model: WriteModel, scans: Path, tmp_path: Path) -> None:
    for row in run(write_model(), scans, tmp_path / "out").rows:
        image = nibabel.load(tmp_path / "out" / row["case"] / "mask.nii.gz")
        assert isinstance(image, nibabel.Nifti1Image)
        assert np.count_nonzero(np.asanyarray(image.dataobj)) > 0
