"""Evaluations and predictions as runs in MLflow, linked to the run that trained their model."""

import json
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from nibabel.loadsave import load, save
from nibabel.nifti1 import Nifti1Image
from rich.console import Console
from typer.testing import CliRunner

from pipeline import cli
from pipeline.commands.compare import open_evaluation
from pipeline.commands.train import TrainedRun, train
from pipeline.errors import ModelError
from tests.commands.conftest import SAMPLES, settings

pytestmark = pytest.mark.usefixtures("tracked_here")


def trained(dataset: Path, *overrides: str) -> TrainedRun:
    return train(settings(dataset, "training.max_epochs=1", *overrides), Path("run"), Console(quiet=True))


def medseg(*arguments: str) -> int:
    return CliRunner().invoke(cli.app, list(arguments)).exit_code


def other_run(run: TrainedRun) -> tuple[MlflowClient, Run]:
    """The run beside that of the training."""
    client = MlflowClient()
    (found,) = [each for each in client.search_runs(["1"]) if each.info.run_id != run.run_id]
    return client, found


def test_an_evaluation_is_a_run_below_the_training_with_its_metrics_and_files(dataset: Path) -> None:
    run = trained(dataset)
    assert medseg("evaluate", str(run.model), str(dataset), "-o", "out") == 0
    client, found = other_run(run)
    assert (found.info.status, found.info.run_name) == ("FINISHED", "evaluate tiny")
    assert found.data.tags["mlflow.parentRunId"] == found.data.tags["training_run_id"] == run.run_id
    written = json.loads(Path("out/metrics.json").read_text())
    assert found.data.metrics["mean_dice"] == written["mean_dice"]
    assert found.data.metrics["dice_anterior"] == written["labels"]["anterior"]["dice"]["mean"]
    logged = {item.path for item in client.list_artifacts(found.info.run_id)}
    assert logged == {"metrics.json", "cases.csv", "report.html", "figures"}
    assert found.inputs is not None
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("Shapes", written["provenance"]["cases_digest"][:32])
    assert not Path("out/.tracking").exists()


def test_evaluations_that_mlflow_keeps_are_compared(dataset: Path) -> None:
    run = trained(dataset)
    assert medseg("evaluate", str(run.model), str(dataset), "-o", "out", "--split", "all") == 0
    _, found = other_run(run)
    kept = f"runs:/{found.info.run_id}"
    shown = CliRunner().invoke(cli.app, ["compare", "out", kept])
    assert shown.exit_code == 0, shown.output
    assert "the same on every case" in shown.output
    with pytest.raises(ModelError, match=r"metrics\.json of an evaluation; found none in runs:/"):
        open_evaluation(f"runs:/{run.run_id}")
    with pytest.raises(ModelError, match="an evaluation that MLflow knows by runs:/ID; found runs:/123: "):
        open_evaluation("runs:/123")


def test_an_evaluation_names_no_case_where_training_was_told_not_to(dataset: Path) -> None:
    run = trained(dataset, "tracking.log_case_names=false")
    assert medseg("evaluate", str(run.model), str(dataset), "-o", "out") == 0
    client, found = other_run(run)
    assert {item.path for item in client.list_artifacts(found.info.run_id)} == {"figures"}
    for item in client.list_artifacts(found.info.run_id, "figures"):
        assert b"shapes_0" not in Path(client.download_artifacts(found.info.run_id, item.path)).read_bytes()


def test_an_evaluation_on_data_that_the_model_does_not_know_names_neither_its_cases_nor_its_folder(
    dataset: Path, tmp_path: Path
) -> None:
    run = trained(dataset)
    clinic = dataset.rename(tmp_path / "doe_john")
    first = sorted((clinic / "imagesTr").iterdir())[0]
    scan = load(first)
    save(Nifti1Image(np.asarray(scan.dataobj) + 1, scan.affine), first)  # type: ignore[attr-defined]
    assert medseg("evaluate", str(run.model), str(clinic), "-o", "out", "--split", "all") == 0
    client, found = other_run(run)
    assert found.data.metrics["mean_dice"] == json.loads(Path("out/metrics.json").read_text())["mean_dice"]
    assert {item.path for item in client.list_artifacts(found.info.run_id)} == {"figures"}
    told = str(found.to_dictionary())
    assert [word for word in ("doe_john", "Shapes", "shapes_0") if word in told] == []


def test_predictions_are_a_run_that_knows_scans_by_the_hash_of_their_content(dataset: Path) -> None:
    run = trained(dataset)
    assert medseg("predict", str(run.model), str(SAMPLES / "imagesTs"), "masks") == 0
    client, found = other_run(run)
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlflow.parentRunId"] == run.run_id
    assert found.data.metrics["ok"] + found.data.metrics["review"] == 4
    assert {item.path for item in client.list_artifacts(found.info.run_id)} == {"cases.json"}
    text = Path(client.download_artifacts(found.info.run_id, "cases.json")).read_text()
    assert "shapes" not in text
    table = json.loads(text)
    assert table["columns"] == ["input_sha256", "status", "action", "seconds", "anterior_ml", "posterior_ml"]
    cases = json.loads(Path("masks/manifest.json").read_text())["cases"]
    assert {row[0] for row in table["data"]} == {record["input_sha256"] for record in cases.values()}


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_nothing_is_recorded_where_that_is_asked_for(dataset: Path, command: str) -> None:
    run = trained(dataset)
    source = [str(dataset), "-o", "out"] if command == "evaluate" else [str(SAMPLES / "imagesTs"), "out"]
    assert medseg(command, str(run.model), *source, "--no-track") == 0
    assert len(MlflowClient().search_runs(["1"])) == 1


def test_predictions_alone_make_no_database(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(dataset)
    model = run.model.resolve()
    (tmp_path / "clinic").mkdir()
    monkeypatch.chdir(tmp_path / "clinic")
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert medseg("predict", str(model), str(SAMPLES / "imagesTs"), "masks") == 0
    assert [path.name for path in Path().iterdir()] == ["masks"]
