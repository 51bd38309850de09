"""Codes of a folder of scans, in a table."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.embed import embed
from pipeline.commands.pretrain import pretrain
from pipeline.model import AutoencoderModel, load_autoencoder
from tests.commands.test_pretrain import configured

QUIET = Console(file=io.StringIO())
pytestmark = pytest.mark.usefixtures("tracked_here")


@pytest.fixture
def model(dataset: Path, tmp_path: Path) -> AutoencoderModel:
    return load_autoencoder(pretrain(configured("undercomplete", dataset), tmp_path / "run", QUIET).model)


def test_each_scan_has_its_code_and_its_error_and_what_is_none_has_a_reason(
    model: AutoencoderModel, dataset: Path, tmp_path: Path
) -> None:
    folder = dataset / "imagesTr"
    (folder / "letter.txt").write_text("no scan")
    (folder / "broken.nii.gz").write_bytes(b"broken")
    config = model.manifest.inference.model_copy(update={"device": "cpu"})
    rows = embed(model, folder, tmp_path / "codes.csv", config=config, console=QUIET)
    assert sorted(row.status for row in rows) == ["failed", "ok", "ok", "ok", "ok", "ok", "skipped"]
    with (tmp_path / "codes.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0]) == ["case", "input", "status", "reason", "mse", "code_0", "code_1"]
    done = [row for row in table if row["status"] == "ok"]
    assert all(float(row["mse"]) > 0 and np.isfinite(float(row["code_1"])) for row in done)
    assert len({row["code_0"] for row in done}) == 5
    (failed,) = (row for row in table if row["status"] == "failed")
    assert (failed["case"], failed["code_0"]) == ("broken", "")
    assert "broken.nii.gz" in failed["input"]
    assert failed["reason"]


def test_the_command_line_writes_the_table_and_says_how_many(
    model: AutoencoderModel, dataset: Path, tmp_path: Path
) -> None:
    assert model.manifest.name == "undercomplete"
    table = tmp_path / "codes.csv"
    arguments = ["embed", str(tmp_path / "run" / "model"), str(dataset / "imagesTr"), "-o", str(table)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "5 scans embedded, 0 failed, 0 files skipped" in result.output
    (dataset / "imagesTr" / "broken.nii.gz").write_bytes(b"broken")
    assert CliRunner().invoke(app, arguments).exit_code == 3
