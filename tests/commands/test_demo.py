"""The whole path on the samples, with a network of seconds."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline import cli
from pipeline.commands.demo import demo
from pipeline.errors import ConfigError
from pipeline.figures import write_preview
from tests.commands.conftest import SAMPLES, TINY, settings

pytestmark = pytest.mark.usefixtures("tracked_here")


@pytest.fixture
def samples(dataset: Path) -> Path:
    """The first five samples, and two scans without masks."""
    for path in sorted((SAMPLES / "imagesTs").iterdir())[:2]:
        (dataset / "imagesTs").mkdir(exist_ok=True)
        shutil.copy(path, dataset / "imagesTs")
    return dataset


def test_the_demo_trains_evaluates_and_predicts(samples: Path) -> None:
    done = demo(settings(samples), Console(quiet=True))
    assert (done.run.model / "model.json").is_file()
    assert (done.evaluation_folder / "report.html").is_file()
    assert (done.evaluation.summary["cases"], done.evaluation.failed) == (1, 0)
    assert (done.predictions.done, done.predictions.failed) == (2, 0)
    masks = sorted(done.predictions_folder.glob("*/mask.nii.gz"))
    assert [mask.parent.name for mask in masks] == ["shapes_021", "shapes_022"]


def test_the_demo_ends_with_the_paths_of_its_results_and_says_so_where_a_scan_failed(
    samples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_once(target: Path, *rest: Any, **labels: Any) -> None:
        if target.parent.name == "shapes_021":
            raise OSError("of a test")
        write_preview(target, *rest, **labels)

    monkeypatch.setattr("pipeline.commands.prediction_files.write_preview", fail_once)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    config = SAMPLES.parents[1] / "configs" / "demo.yaml"
    result = CliRunner().invoke(cli.app, ["demo", *TINY, f"data.root={samples}", "--config", str(config)])
    assert result.exit_code == 3, result.output
    (folder,) = Path("runs/tiny").iterdir()
    ending = result.output.partition("results")[2]
    for path in ("evaluation/report.html", "predictions (1 scan)", "predictions/report.html", "model"):
        assert str(folder / path) in ending
    assert "mlflow ui --backend-store-uri sqlite:///mlflow.db" in " ".join(ending.split())


def test_the_command_that_shows_all_runs_can_be_typed_where_no_environment_is_active(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", str(Path.cwd() / "env" / "bin" / "python"))
    assert cli._mlflow_here() == "env/bin/mlflow"
    monkeypatch.setattr("sys.executable", "/elsewhere/bin/python")
    assert cli._mlflow_here() == "/elsewhere/bin/mlflow"


def test_without_scans_to_predict_nothing_is_trained(dataset: Path) -> None:
    with pytest.raises(ConfigError, match=r"found no folder .*imagesTs\. Run the demo in a checkout"):
        demo(settings(dataset), Console(quiet=True))
    assert not Path("runs").exists()
