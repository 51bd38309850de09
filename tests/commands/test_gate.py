"""The scan gate from training to the table of predictions, on the samples."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.commands.predict import predict
from pipeline.commands.refit_gate import refit_gate
from pipeline.commands.train import train
from pipeline.errors import DatasetError, ModelError, OutputError
from pipeline.files import file_sha256
from pipeline.formats import nifti, registry
from pipeline.model import Model, load_model
from pipeline.scan import Scan
from tests.commands.conftest import SAMPLES, settings

QUIET = Console(file=io.StringIO())
NEW_SCANS = SAMPLES / "imagesTs"
RATE = "gate.false_alarm_rate=0.1"
pytestmark = pytest.mark.usefixtures("tracked_here")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A model of all samples, trained once; what it segments is of no matter here."""
    root = tmp_path_factory.mktemp("gate")
    shutil.copy(empty_store, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/tracking.db")
        patch.setenv("MEDSEG_CACHE", str(root / "cache"))
        config = settings(SAMPLES, "gate.autoencoder_steps=20", RATE)
        return train(config, root / "run", QUIET).model


@pytest.fixture
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Scans of the kind, and one that is not."""
    folder = tmp_path / "scans"
    shutil.copytree(NEW_SCANS, folder)
    first = registry.read_scan(sorted(folder.iterdir())[0])
    stripes = np.sin(np.indices(first.shape)[0] * 1.3)[None] * 100
    nifti.write_mask(folder / "stripes.nii.gz", (stripes[0] > 0).astype(np.uint8) * 200, first)
    return folder


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "cases.csv").open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_training_saves_a_gate_that_is_named_in_the_manifest(model_folder: Path, model: Model) -> None:
    assert model.manifest.gate_sha256 == file_sha256(model_folder / "gate.safetensors")
    assert model.gate


def test_a_scan_unlike_those_of_training_is_to_be_reviewed_and_it_is_shown_why(
    model: Model, scans: Path, tmp_path: Path
) -> None:
    output = tmp_path / "masks"
    predict(model, scans, output, config=model.manifest.inference, console=QUIET)
    table = rows(output)
    odd = table.pop("stripes")
    assert odd["status"] == "review"
    assert f"unlike the scans of training: gate_score {float(odd['gate_score']):.2f}" in odd["reason"]
    quality = json.loads((output / "stripes" / "quality.json").read_text())["gate"]
    assert quality["foreign"]
    assert quality["score"] == pytest.approx(float(odd["gate_score"]), abs=1e-3)
    assert quality["score"] > quality["threshold"]
    assert (output / "stripes" / "odd.png").exists()
    assert all(float(row["gate_score"]) < float(odd["gate_score"]) for row in table.values())
    usual = [case for case, row in table.items() if "unlike the scans of training" not in row["reason"]]
    assert len(usual) >= 3
    assert not any((output / case / "odd.png").exists() for case in usual)
    page = (output / "report.html").read_text()
    assert "Gate score" in page
    assert "stripes/odd.png" in page


def test_what_an_earlier_run_left_keeps_its_score_and_its_reason(model: Model, scans: Path, tmp_path: Path) -> None:
    output, config = tmp_path / "masks", model.manifest.inference
    predict(model, scans, output, config=config, console=QUIET)
    before = rows(output)
    predict(model, scans, output, config=config, console=QUIET)
    after = rows(output)
    assert {row["action"] for row in after.values()} == {"kept"}
    for name in ("gate_score", "reason", "status"):
        assert [row[name] for row in after.values()] == [row[name] for row in before.values()]


def test_mirroring_leaves_the_score_as_it_is(model: Model, scans: Path, tmp_path: Path) -> None:
    """The encoder is listened to on the window as it is, whatever else is averaged."""
    scores = []
    for tta in (False, True):
        output, config = tmp_path / f"masks-{tta}", model.manifest.inference.model_copy(update={"tta": tta})
        predict(model, scans, output, config=config, console=QUIET)
        scores.append([row["gate_score"] for row in rows(output).values()])
    assert scores[0] == scores[1]


def test_without_a_gate_there_is_no_score(tmp_path: Path, scans: Path) -> None:
    run = train(settings(SAMPLES, "gate.enabled=false", "training.max_epochs=1"), tmp_path / "run", QUIET)
    assert not (run.model / "gate.safetensors").exists()
    plain = load_model(run.model)
    predict(plain, scans, tmp_path / "masks", config=plain.manifest.inference, console=QUIET)
    assert all("gate_score" not in row for row in rows(tmp_path / "masks").values())
    with pytest.raises(ModelError, match=r"gate\.enabled=true"):
        refit_gate(plain, scans, tmp_path / "new", false_alarm_rate=0.1, config=plain.manifest.inference, console=QUIET)


def test_whatever_keeps_a_gate_from_being_fitted_the_model_is_there(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_arguments: object, **_others: object) -> None:
        assert (tmp_path / "run" / "model" / "model.json").exists()
        raise MemoryError

    monkeypatch.setattr("pipeline.commands.gate.fit_gate", fail)
    run = train(settings(dataset), tmp_path / "run", QUIET)
    assert load_model(run.model).gate == {}
    assert "no scan gate" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_damaged_gate_is_refused(model_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    gate = folder / "gate.safetensors"
    content = gate.read_bytes()
    gate.unlink()
    if damage != "missing":
        gate.write_bytes(content[:-1] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ModelError, match="scan gate"):
        load_model(folder)


def refit(arguments: Sequence[str]) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["refit-gate", *arguments])
    return result.exit_code, result.output


def test_a_site_fits_the_threshold_to_its_own_scans(
    model_folder: Path, model: Model, scans: Path, tmp_path: Path
) -> None:
    new = tmp_path / "site"
    code, text = refit([str(model_folder), str(scans), "-o", str(new), "--false-alarms", "0.1"])
    assert code == 0, text
    assert "5 scans judged" in text
    assert "good for 16.7% false alarms" in text  # the highest of five scans
    assert "Expected 9 scans or more for 10.0% false alarms; give more." in text
    refitted = load_model(new)
    assert refitted.manifest.weights_sha256 == model.manifest.weights_sha256
    output = tmp_path / "masks"
    predict(refitted, scans, output, config=model.manifest.inference, console=QUIET)
    assert not any("unlike the scans" in row["reason"] for row in rows(output).values())


def test_scans_of_the_training_do_not_count_for_a_site(model_folder: Path, scans: Path, tmp_path: Path) -> None:
    manifest = load_model(model_folder).manifest
    for path in sorted((SAMPLES / "imagesTr").iterdir()):
        if manifest.parts[registry.read_scan(path).content_hash()] == "train":
            shutil.copy(path, scans / "learnt.nii.gz")
            break
    code, text = refit([str(model_folder), str(scans), "-o", str(tmp_path / "site")])
    assert code == 3
    assert "failed  learnt" in text
    assert "has not seen in training" in text


def test_a_folder_that_holds_something_is_left_alone(model: Model, scans: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "letter").write_text("mine")
    with pytest.raises(OutputError, match="taken"):
        refit_gate(model, scans, taken, false_alarm_rate=0.1, config=model.manifest.inference, console=QUIET)
    (scans / "only").mkdir()
    shutil.copy(sorted(NEW_SCANS.iterdir())[0], scans / "only")
    with pytest.raises(DatasetError, match="at least 4 cases"):
        refit_gate(
            model,
            scans / "only",
            tmp_path / "new",
            false_alarm_rate=0.1,
            config=model.manifest.inference,
            console=QUIET,
        )
    assert not (tmp_path / "new").exists()


def test_the_score_is_the_same_from_a_scan_in_memory(model: Model, scans: Path) -> None:
    from pipeline.inference.predictor import Predictor
    from pipeline.preprocessing.prepare import prepare

    predictor = Predictor(model, model.manifest.inference)
    scan: Scan = registry.read_scan(scans / "stripes.nii.gz")
    prepared = prepare(scan, model.manifest.preprocessing)
    found = predictor.segment(prepared).gate
    assert found is not None
    assert predictor.gate is not None
    raw = predictor.gate_scores(prepared)[None]
    assert predictor.gate.statistics.gate.gate_score(raw)[0] == pytest.approx(found.score, rel=1e-6)
