"""What `predict --dry-run` says, and that it writes nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from pipeline.checks.case import Inspection, inspect_case
from pipeline.commands import scan_checks
from pipeline.commands.preflight import Preflight, preflight
from pipeline.layouts.dataset import Case
from pipeline.manifest import read_manifest
from pipeline.preprocessing.ranges import LabelRange, TrainingRanges

WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
RANGES = TrainingRanges(
    cases=9,
    labels={name: LabelRange(size=(1, 2), parts=1, absent_share=0, border_share=0) for name in ("organ", "lesion")},
    intensities=(((0, 0), (0, 0), (100, 200)),),
    spacing_mm=((1.0, 1.0),) * 3,
    repaired_share=0.0,
)


def look(model: Path, source: Path, output: Path) -> Preflight:
    manifest = read_manifest(model).model_copy(update={"ranges": RANGES})
    console = Console(quiet=True)
    return preflight(manifest, source, output, config=manifest.inference, overwrite=False, console=console)


def test_sizes_memory_and_what_the_mask_would_be_reviewed_for_are_told_from_headers(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    model = write_model()
    write_volume(tmp_path / "in" / "a.nii", np.zeros((20, 30, 40), np.int16))
    write_volume(tmp_path / "in" / "b.nii", np.zeros((4, 4, 4), np.int16), spacing_mm=6.5)
    write_volume(tmp_path / "in" / "c.nii", np.zeros((4, 4, 4, 2), np.int16))
    (tmp_path / "in" / "d.nii.gz").write_bytes(b"")
    found = look(model, tmp_path / "in", tmp_path / "out")
    assert [(each.item.entry.case, each.item.status, each.item.action, each.shape) for each in found.inputs] == [
        ("a", "ok", "done", (20, 30, 40)),
        ("b", "ok", "done", (4, 4, 4)),
        ("c", "failed", "", (4, 4, 4)),
        ("d", "failed", "", None),
    ]
    assert found.inputs[0].memory_gb is not None
    assert 0.1 < found.inputs[0].memory_gb < 0.5
    told = {(each.case, each.severity, each.expected) for each in found.findings}
    assert {(case, severity) for case, severity, _ in told} == {("b", "warning"), ("c", "error"), ("d", "error")}
    assert not (tmp_path / "out").exists()


def test_a_scan_that_would_not_fit_into_memory_is_an_error(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume(tmp_path / "in" / "a.nii", np.zeros((20, 30, 40), np.int16))
    monkeypatch.setattr(scan_checks, "available_bytes", lambda: 1000)
    (finding,) = look(write_model(), tmp_path / "in", tmp_path / "out").findings
    assert (finding.severity, finding.expected) == ("error", "a scan that fits into memory")
    assert re.match(r"one that takes about 0\.\d GB, where 0\.0 GB are free", finding.found)


def test_intensities_are_looked_at_where_voxels_are_read(
    write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path
) -> None:
    path = write_volume(tmp_path / "a.nii", np.full((4, 4, 4), 900, np.int16))
    manifest = read_manifest(write_model()).model_copy(update={"ranges": RANGES})
    case = Case("a", (path,), None, "a")
    headers, voxels = (inspect_case(Inspection(case, deep, model=manifest)).findings for deep in (False, True))
    assert headers == ()
    assert "intensities: median 900, where training had 0" in {finding.found for finding in voxels}


def test_a_dry_run_starts_without_torch(write_model: WriteModel, write_volume: WriteVolume, tmp_path: Path) -> None:
    path = write_volume(tmp_path / "a.nii", np.zeros((4, 4, 4), np.int16))
    command = [sys.executable, "-m", "pipeline", "predict", str(write_model()), str(path), "out", "--dry-run"]
    environment = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert re.search(r"^to do +a  4 x 4 x 4 voxels, 0\.\d GB$", done.stdout, re.MULTILINE)
    assert not re.search(r"\| +(torch|mlflow|monai)$", done.stderr, re.MULTILINE)
