"""Training from a configuration to a model: reproducible, tracked, and resumable, on a handful of small cases."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from pipeline.commands import train as command
from pipeline.commands.train import TrainedRun, resume, train
from pipeline.config.load import Config, load_config
from pipeline.errors import DatasetError, ModelError
from pipeline.files import file_sha256
from pipeline.manifest import read_manifest

WriteVolume = Callable[..., Path]
pytestmark = pytest.mark.filterwarnings("ignore:.*loader strategy is deprecated")  # what MLflow asks of SQLAlchemy
QUIET = Console(quiet=True)
SAMPLES = Path(__file__).resolve().parents[2] / "data_samples" / "shapes"
TINY = [
    "name=tiny",
    "data.split.validation=0.2",
    "data.split.test=0.2",
    "network.features=[4,8]",
    "network.strides=null",
    "network.encoder_convolutions=[1,1]",
    "network.decoder_convolutions=[1]",
    "network.deep_supervision=0",
    "training.patch_size=[16,16,16]",
    "training.max_epochs=2",
    "training.max_minutes=null",
    "training.iterations_per_epoch=2",
    "training.workers=0",
    "training.validate_every=1",
    "training.threads=1",
    "training.precision=fp32",
    "training.device=cpu",
    "inference.overlap=0",
]


@pytest.fixture(autouse=True)
def tracked_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are recorded, and cases cached, below the test's own folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/tracking.db")
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """The first five samples."""
    root = tmp_path / "set"
    content = json.loads((SAMPLES / "dataset.json").read_text())
    content["training"], content["test"] = content["training"][:5], []
    for item in content["training"]:
        for path in item.values():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(SAMPLES / path, root / path)
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def settings(dataset: Path, *overrides: str) -> Config:
    demo = SAMPLES.parents[1] / "configs" / "demo.yaml"
    return load_config(demo, [*TINY, f"data.root={dataset}", *overrides])


def recorded(run_id: str | None = None) -> tuple[MlflowClient, Run]:
    """A run as MLflow has it; by default the only one."""
    client = MlflowClient()
    (run,) = client.search_runs(["1"]) if run_id is None else [client.get_run(run_id)]
    return client, run


def weights(run: TrainedRun) -> str:
    return read_manifest(run.model).weights_sha256


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_a_run_leaves_its_folder_its_model_and_its_record(dataset: Path) -> None:
    run = train(settings(dataset), None, QUIET)
    assert run.folder == Path("runs") / "tiny" / run.run_id
    for name in ("config.yaml", "run.json", "split.json", "checks.txt", "history.csv", "last.ckpt", "model/model.json"):
        assert (run.folder / name).is_file(), name
    manifest = read_manifest(run.model)
    assert manifest.weights_sha256 == file_sha256(run.model / "weights.safetensors")
    assert sorted(manifest.parts.values()) == ["test", "train", "train", "train", "validation"]
    assert manifest.labels == {"anterior": 1, "posterior": 2}
    assert (manifest.provenance.epochs, manifest.provenance.run_id) == (2, run.run_id)
    assert manifest.validation_dice == run.validation_dice

    client, record = recorded(run.run_id)
    assert (record.info.status, record.info.run_name) == ("FINISHED", "tiny")
    assert record.data.tags["dataset"] == "Shapes"
    assert record.data.params["training.max_epochs"] == "2"
    assert record.data.params["network.features"] == "(4, 8)" or record.data.params["network.features"] == "[4, 8]"
    for name in ("loss", "learning_rate", "dice", "dice_anterior", "dice_posterior", "seconds"):
        assert [metric.step for metric in client.get_metric_history(run.run_id, name)] == [1, 2], name
    assert {item.path for item in client.list_artifacts(run.run_id)} >= {"model", "split.json", "config.yaml"}
    logged = {item.path for item in client.list_artifacts(run.run_id, "model")}
    assert logged == {"model/model.json", "model/weights.safetensors"}
    rows = history(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["dice"]) == pytest.approx(run.validation_dice)


def test_the_weights_are_the_same_again_and_with_any_number_of_workers(dataset: Path) -> None:
    hashes = {
        (workers, turn): weights(train(settings(dataset, f"training.workers={workers}"), None, QUIET))
        for workers, turn in ((0, 1), (0, 2), (1, 1), (2, 1))
    }
    assert len(set(hashes.values())) == 1, hashes


def test_another_seed_gives_other_weights(dataset: Path) -> None:
    runs = [train(settings(dataset, f"training.seed={seed}", "training.max_epochs=1"), None, QUIET) for seed in (0, 1)]
    assert weights(runs[0]) != weights(runs[1])


@pytest.mark.parametrize("stop_after", [1, 2])
def test_a_run_that_was_interrupted_and_resumed_ends_with_the_weights_of_an_undisturbed_one(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_after: int
) -> None:
    whole = train(settings(dataset, "training.max_epochs=3"), tmp_path / "whole", QUIET)
    record = command._record_epoch

    def interrupt(result: Any, *rest: Any) -> None:
        record(result, *rest)
        if result.epoch == stop_after:
            raise KeyboardInterrupt("of a test")

    monkeypatch.setattr(command, "_record_epoch", interrupt)
    with pytest.raises(KeyboardInterrupt, match="of a test"):
        train(settings(dataset, "training.max_epochs=3"), tmp_path / "cut", QUIET)
    run_id = json.loads((tmp_path / "cut" / "run.json").read_text())["run_id"]
    assert recorded(run_id)[1].info.status == "KILLED"
    assert not (tmp_path / "cut" / "model").exists()
    monkeypatch.setattr(command, "_record_epoch", record)

    resumed = resume(tmp_path / "cut", QUIET)
    assert (resumed.run_id, weights(resumed)) == (run_id, weights(whole))
    assert recorded(run_id)[1].info.status == "FINISHED"
    assert [row["epoch"] for row in history(tmp_path / "cut")] == ["1", "2", "3"]
    losses = [[row["loss"] for row in history(tmp_path / name)] for name in ("cut", "whole")]
    assert losses[0] == losses[1]


def test_a_run_that_stopped_before_its_first_epoch_starts_again(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt("of a test")

    with monkeypatch.context() as patch:
        patch.setattr(command, "check_for_training", interrupt)
        with pytest.raises(KeyboardInterrupt, match="of a test"):
            train(settings(dataset, "training.max_epochs=1"), tmp_path / "cut", QUIET)
    run = resume(tmp_path / "cut", QUIET)
    assert recorded(run.run_id)[1].info.status == "FINISHED"


def test_a_new_run_does_not_write_over_another(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"run_id": "other"}')
    with pytest.raises(ModelError, match=r"an empty folder for a new run; found a run in .*--resume"):
        train(settings(dataset), tmp_path / "run", QUIET)
    assert (tmp_path / "run" / "run.json").read_text() == '{"run_id": "other"}'


def test_a_damaged_data_set_fails_the_run_with_all_findings_in_one_message(
    dataset: Path, tmp_path: Path, write_volume: WriteVolume
) -> None:
    images, masks = sorted((dataset / "imagesTr").iterdir()), sorted((dataset / "labelsTr").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:-100])
    write_volume(masks[1], np.ones((4, 4, 4), np.uint8))
    masks[2].unlink()
    with pytest.raises(DatasetError, match="Expected a data set without errors") as caught:
        train(settings(dataset), tmp_path / "run", QUIET)
    report = str(caught.value)
    for line in ("damaged or cut off", "a mask on its image's grid", "shapes_001", "shapes_002", "shapes_003"):
        assert line in report
    assert "Mend these first" in report
    assert "3 errors" in (tmp_path / "run" / "checks.txt").read_text()
    _, record = recorded()
    assert record.info.status == "FAILED"
    assert record.data.tags["error"].startswith("Expected a data set without errors")


def test_hundreds_of_equal_findings_are_one_paragraph_of_the_message(dataset: Path, tmp_path: Path) -> None:
    for image in (dataset / "imagesTr").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DatasetError, match="Expected a data set without errors") as caught:
        train(settings(dataset), tmp_path / "run", QUIET)
    assert str(caught.value).count("ERROR:") == 1
    assert "5 errors" in str(caught.value)


def test_an_error_in_training_fails_the_run_and_says_why(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise ArithmeticError("the loss is no number")

    monkeypatch.setattr(command, "fit", fail)
    with pytest.raises(ArithmeticError, match="the loss is no number"):
        train(settings(dataset), None, QUIET)
    _, record = recorded()
    assert (record.info.status, record.data.tags["error"]) == ("FAILED", "the loss is no number")


def test_a_network_can_start_from_the_weights_of_a_model(dataset: Path) -> None:
    first = train(settings(dataset, "training.max_epochs=1"), None, QUIET)
    again = train(settings(dataset, "training.max_epochs=1", f"network.init_from={first.model}"), None, QUIET)
    assert weights(again) != weights(first)
    with pytest.raises(ModelError, match=r"a model folder with model\.json"):
        train(settings(dataset, "network.init_from=nowhere"), None, QUIET)
