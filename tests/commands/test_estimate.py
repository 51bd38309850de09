"""Predicted Dice from training to the table of predictions, on the samples."""

import csv
import io
import json
import logging
import shutil
from pathlib import Path

import pytest
from pandas import DataFrame
from rich.console import Console

from pipeline.commands.models import open_model
from pipeline.commands.predict import predict
from pipeline.commands.refit_gate import refit_gate
from pipeline.commands.train import train
from pipeline.errors import ModelError
from pipeline.files import file_sha256
from pipeline.inference.predictor import Predictor
from pipeline.model import Model, load_model
from pipeline.serving import PyfuncModel
from tests.commands.conftest import SAMPLES, settings

QUIET = Console(file=io.StringIO())
NEW_SCANS = SAMPLES / "imagesTs"
LABELS = ("anterior", "posterior")
QUICK = [
    *("estimate.enabled=true", "estimate.shape_steps=20", "estimate.damaged=1", "estimate.review_below=1.0"),
    *("gate.autoencoder_steps=0", "data.split.validation=0.3", "training.max_epochs=1"),
    *("augmentation.mirror_axes=[0]", "inference.tta=true"),
]
pytestmark = pytest.mark.usefixtures("tracked_here")


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """A model of all samples, trained once; whatever it segments is below the usual Dice of 1."""
    root = tmp_path_factory.mktemp("estimate")
    shutil.copy(empty_store, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/tracking.db")
        patch.setenv("MEDSEG_CACHE", str(root / "cache"))
        said, log = io.StringIO(), logging.getLogger("pipeline.commands.estimate")
        handler = logging.StreamHandler(said)
        log.addHandler(handler)
        model = train(settings(SAMPLES, *QUICK), root / "run", QUIET).model
        log.removeHandler(handler)
        (root / "said").write_text(said.getvalue())
        return model


@pytest.fixture
def model(model_folder: Path) -> Model:
    return load_model(model_folder)


def rows(output: Path) -> dict[str, dict[str, str]]:
    with (output / "cases.csv").open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_training_says_that_six_patients_are_too_few_for_an_interval(model_folder: Path) -> None:
    said = (model_folder.parents[1] / "said").read_text()
    assert "validation cases of at least 9 patients, found 6" in said


def test_it_is_saved_and_named_in_the_manifest(model_folder: Path, model: Model) -> None:
    assert model.manifest.estimate_sha256 == file_sha256(model_folder / "estimate.safetensors")
    predictor = Predictor(model, model.manifest.inference)
    assert predictor.estimates is not None
    assert predictor.estimates.mirrored is not None


@pytest.mark.parametrize("tta", [True, False])
def test_each_label_has_a_dice_within_its_interval_and_a_low_one_is_a_reason(
    model: Model, tmp_path: Path, *, tta: bool
) -> None:
    output, config = tmp_path / "masks", model.manifest.inference.model_copy(update={"tta": tta})
    predict(model, NEW_SCANS, output, config=config, console=QUIET)
    for case, row in rows(output).items():
        assert row["status"] == "review"
        quality = json.loads((output / case / "quality.json").read_text())["predicted_dice"]
        for label in LABELS:
            ends = (f"dice_low_{label}", f"predicted_dice_{label}", f"dice_high_{label}")
            low, dice, high = (float(row[name]) for name in ends)
            assert 0 <= low <= dice <= high <= 1
            assert quality[label]["dice"] == pytest.approx(dice, abs=1e-3)
            assert f"{label}: predicted Dice {quality[label]['dice']:.3f} (" in row["reason"]
            assert "where 1.000 is expected at least" in row["reason"]
    assert "Predicted Dice" in (output / "report.html").read_text()
    predict(model, NEW_SCANS, output, config=config, console=QUIET)
    assert {row["action"] for row in rows(output).values()} == {"kept"}


def test_it_does_not_alter_the_mask_and_the_same_is_said_with_probability_maps(model: Model) -> None:
    scan, config = sorted(NEW_SCANS.iterdir())[0], model.manifest.inference
    found = [
        Predictor(model, config.model_copy(update={"probability_maps": maps})).examine(scan) for maps in (False, True)
    ]
    assert (found[0].mask == Predictor(model, config).predict(scan)).all()
    for streamed, mapped in zip(found[0].estimates, found[1].estimates, strict=True):
        assert mapped.dice == pytest.approx(streamed.dice, abs=1e-5)


@pytest.mark.parametrize("tta", [True, False])
def test_openvino_gives_the_mask_the_gate_score_and_the_predicted_dice_of_pytorch(model: Model, *, tta: bool) -> None:
    scan, config = sorted(NEW_SCANS.iterdir())[0], model.manifest.inference.model_copy(update={"tta": tta})
    torch, openvino = (
        Predictor(model, config.model_copy(update={"backend": name})).examine(scan) for name in ("torch", "openvino")
    )
    assert (torch.mask == openvino.mask).mean() > 0.999
    assert torch.mask.any()
    assert torch.gate is not None
    assert openvino.gate is not None
    assert openvino.gate.score == pytest.approx(torch.gate.score, abs=0.01)
    for ours, theirs in zip(openvino.estimates, torch.estimates, strict=True):
        assert ours.dice == pytest.approx(theirs.dice, abs=0.01)


def test_a_model_with_a_new_gate_keeps_it(model: Model, tmp_path: Path) -> None:
    config = model.manifest.inference
    refit_gate(model, NEW_SCANS, tmp_path / "site", false_alarm_rate=0.1, config=config, console=QUIET)
    again = load_model(tmp_path / "site")
    assert again.manifest.estimate_sha256 == model.manifest.estimate_sha256
    assert again.manifest.gate_sha256 != model.manifest.gate_sha256


def test_a_served_model_says_it_too(model: Model) -> None:
    scan = sorted(NEW_SCANS.iterdir())[0]
    answer = PyfuncModel(Predictor(model, model.manifest.inference)).predict(DataFrame({"path": [str(scan)]}))
    assert "anterior: predicted Dice" in answer["review"][0]


def test_a_damaged_file_of_it_is_refused(model_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(model_folder, tmp_path / "model")
    (folder / "estimate.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelError, match="predicted Dice"):
        load_model(folder)


def test_without_enough_patients_to_validate_on_there_is_none_and_it_is_said(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = train(settings(dataset, "estimate.enabled=true", "training.max_epochs=1"), tmp_path / "run", QUIET)
    plain = load_model(run.model)
    assert plain.manifest.estimate_sha256 is None
    assert "does not predict its Dice" in caplog.text
    assert "Set data.split.validation higher; the interval takes 9 patients where it is of 90 %." in caplog.text
    predict(plain, NEW_SCANS, tmp_path / "masks", config=plain.manifest.inference, console=QUIET)
    assert not any("predicted_dice_anterior" in row for row in rows(tmp_path / "masks").values())


def test_whatever_keeps_it_from_being_fitted_the_model_is_there(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    was_there = list[bool]()

    def fail(*_arguments: object, **_others: object) -> None:
        was_there.append((tmp_path / "run" / "model" / "model.json").exists())
        raise MemoryError

    monkeypatch.setattr("pipeline.commands.estimate.fit_estimates", fail)
    monkeypatch.setattr("pipeline.commands.calibration.calibrate", fail)
    run = train(settings(dataset, "estimate.enabled=true", "training.max_epochs=1"), tmp_path / "run", QUIET)
    assert was_there == [True, True]
    model = load_model(run.model)
    assert model.estimate == {}
    assert model.manifest.temperature is None
    assert "does not predict its Dice" in caplog.text
    assert "could not be calibrated" in caplog.text


def test_of_a_model_that_was_fitted_to_single_predictions_nothing_is_said_of_mirrored_ones(model: Model) -> None:
    scan, config = sorted(NEW_SCANS.iterdir())[0], model.manifest.inference
    arrays = {name: array for name, array in model.estimate.items() if not name.startswith("mirrored.")}
    single = Model(model.manifest, model.network, model.gate, arrays)
    found = [Predictor(single, config.model_copy(update={"tta": tta})).examine(scan) for tta in (False, True)]
    assert [len(each.estimates) for each in found] == [2, 0]


@pytest.mark.parametrize("tta", [True, False])
def test_a_folder_whose_masks_will_have_none_is_told_so_before(model: Model, tmp_path: Path, *, tta: bool) -> None:
    arrays = {name: array for name, array in model.estimate.items() if not name.startswith("mirrored.")}
    said, config = io.StringIO(), model.manifest.inference.model_copy(update={"tta": tta})
    single = Model(model.manifest, model.network, model.gate, arrays)
    predict(single, sorted(NEW_SCANS.iterdir())[0], tmp_path / "masks", config=config, console=Console(file=said))
    assert ("Use --no-tta to have it" in said.getvalue()) is tta


def test_it_needs_no_gate(model: Model) -> None:
    scan, config = sorted(NEW_SCANS.iterdir())[0], model.manifest.inference
    without = Predictor(Model(model.manifest, model.network, {}, model.estimate), config).examine(scan)
    assert without.gate is None
    assert without.estimates == Predictor(model, config).examine(scan).estimates


def test_a_zip_of_the_model_has_it(model_folder: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "model"), "zip", model_folder)
    model = open_model(str(tmp_path / "model.zip"))
    assert model.estimate
    assert model.gate
