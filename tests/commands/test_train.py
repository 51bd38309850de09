"""Training from a configuration to a model: reproducible, tracked, and resumable, on a handful of small cases."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from rich.console import Console

from pipeline.commands import dataset as preliminaries
from pipeline.commands import job, run_folder
from pipeline.commands import train as train_module
from pipeline.commands.evaluate import evaluate
from pipeline.commands.job import may_log_case_names
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.train import TrainedRun, read_config, resume, train
from pipeline.errors import ConfigError, DatasetError, ModelError, OutputError
from pipeline.files import file_sha256
from pipeline.losses.segmentation import SegmentationLoss
from pipeline.manifest import read_manifest
from pipeline.model import load_model
from pipeline.tracking.identity import Identity, Wanted, write_identity
from pipeline.tracking.run import TrackedRun
from pipeline.training import segmentation
from pipeline.training.state import TrainingState
from tests.commands.conftest import SAMPLES, TINY, settings
from tests.conftest import Planted

WriteVolume = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("tracked_here")
QUIET = Console(quiet=True)


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
    codes = 'data.codes={anterior: [SCT, "5366008", Hippocampus]}'
    run = train(settings(dataset, codes), None, QUIET)
    assert run.folder == Path("runs") / "tiny" / run.run_id
    for name in ("config.yaml", "run.json", "split.json", "checks.txt", "history.csv", "last.ckpt", "model/model.json"):
        assert (run.folder / name).is_file(), name
    manifest = read_manifest(run.model)
    assert manifest.weights_sha256 == file_sha256(run.model / "weights.safetensors")
    assert sorted(manifest.parts.values()) == ["test", "train", "train", "train", "validation"]
    assert manifest.labels == {"anterior": 1, "posterior": 2}
    assert manifest.codes == {"anterior": ("SCT", "5366008", "Hippocampus")}
    assert (manifest.provenance.epochs, manifest.provenance.run_id) == (2, run.run_id)
    assert manifest.provenance.precision == "fp32"
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
    assert logged >= {"model/model.json", "model/weights.safetensors", "model/MLmodel", "model/requirements.txt"}
    rows = history(run.folder)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["dice"]) == pytest.approx(run.validation_dice)


def test_the_model_says_what_its_training_cases_were_like(dataset: Path) -> None:
    run = train(settings(dataset), None, QUIET)
    ranges = read_manifest(run.model).ranges
    names = json.loads((run.folder / "split.json").read_text())["train"]
    files = [nibabel.Nifti1Image.from_filename(dataset / "labelsTr" / f"{name}.nii.gz") for name in names]
    assert ranges is not None
    assert ranges.cases == len(files) == 3
    for name, value in (("anterior", 1), ("posterior", 2)):
        found = [np.count_nonzero(np.asarray(file.dataobj) == value) for file in files]
        sizes_ml = [n * np.prod(file.header.get_zooms()) / 1000 for n, file in zip(found, files, strict=True)]
        assert ranges.labels[name].size == pytest.approx((min(sizes_ml), max(sizes_ml)), rel=1e-5)
        assert (ranges.labels[name].parts, ranges.labels[name].absent_share) == (1, 0.0)
        assert ranges.labels[name].border_share == 0.0
    assert not any(name in ranges.model_dump_json() for name in names)


def test_the_weights_are_the_same_again_and_with_any_number_of_workers(dataset: Path) -> None:
    hashes = {
        (workers, turn): weights(train(settings(dataset, f"training.workers={workers}"), None, QUIET))
        for workers, turn in ((0, 1), (0, 2), (1, 1), (2, 1))
    }
    assert len(set(hashes.values())) == 1, hashes


def test_another_seed_gives_other_weights(dataset: Path) -> None:
    runs = [train(settings(dataset, f"training.seed={seed}", "training.max_epochs=1"), None, QUIET) for seed in (0, 1)]
    assert weights(runs[0]) != weights(runs[1])


@contextmanager
def interrupted_before_checkpoint(epoch: int) -> Iterator[None]:
    """Training in which an interrupt arrives before the checkpoint of an epoch."""
    save = job.save

    def interrupt(folder: RunFolder, state: TrainingState, *, is_best: bool) -> None:
        if state.counters.epoch == epoch:
            raise KeyboardInterrupt("of a test")
        save(folder, state, is_best=is_best)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train_module, "save", interrupt)
        with pytest.raises(KeyboardInterrupt, match="of a test"):
            yield


@contextmanager
def interrupted(epoch: int) -> Iterator[None]:
    """Training in which an interrupt arrives after the checkpoint of an epoch, before MLflow hears of the epoch."""
    record = TrackedRun.log_metrics

    def interrupt(run: TrackedRun, metrics: dict[str, float | None], step: int, *, time_ms: int) -> None:
        if step == epoch:
            raise KeyboardInterrupt("of a test")
        record(run, metrics, step, time_ms=time_ms)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrackedRun, "log_metrics", interrupt)
        with pytest.raises(KeyboardInterrupt, match="of a test"):
            yield


def identity(folder: Path) -> dict[str, Any]:
    """What the folder of a run says of the run in MLflow."""
    written: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return written


def averages(checkpoint: Path) -> dict[str, Any]:
    """The averaged weights in a checkpoint."""
    weights: dict[str, Any] = torch.load(checkpoint, weights_only=True)["average"]
    return weights


def test_what_is_interrupted_says_how_to_go_on(dataset: Path, tmp_path: Path) -> None:
    shown = Console(record=True, width=200, file=io.StringIO())
    with interrupted(1):
        train(settings(dataset), tmp_path / "cut", shown)
    assert f"interrupted; `medseg train --resume {tmp_path}/cut` goes on" in shown.export_text()


def test_a_place_that_cannot_be_written_to_is_told_before_anything_is_read(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutputError, match=r"a folder that can be written to; found .*/file/run: Not a directory"):
        train(settings(dataset), tmp_path / "file" / "run", QUIET)
    assert recorded()[1].info.status == "FAILED"


@pytest.mark.parametrize("moment", [interrupted_before_checkpoint, interrupted])
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_run_that_was_interrupted_and_resumed_ends_with_the_weights_of_an_undisturbed_one(
    dataset: Path, tmp_path: Path, epoch: int, moment: Callable[[int], AbstractContextManager[None]]
) -> None:
    whole = train(settings(dataset, "training.max_epochs=3"), tmp_path / "whole", QUIET)
    with moment(epoch):
        train(settings(dataset, "training.max_epochs=3"), tmp_path / "cut", QUIET)
    run_id = identity(tmp_path / "cut")["run_id"]
    assert recorded(run_id)[1].info.status == "KILLED"
    assert not (tmp_path / "cut" / "model").exists()

    resumed = resume(tmp_path / "cut", QUIET)
    assert (resumed.run_id, weights(resumed)) == (run_id, weights(whole))
    client, record = recorded(run_id)
    assert record.info.status == "FINISHED"
    assert [metric.step for metric in client.get_metric_history(run_id, "loss")] == [1, 2, 3]
    assert [row["epoch"] for row in history(tmp_path / "cut")] == ["1", "2", "3"]
    losses = [[row["loss"] for row in history(tmp_path / name)] for name in ("cut", "whole")]
    assert losses[0] == losses[1]


def test_a_run_is_resumed_where_it_was_begun_from_any_folder(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with interrupted(1):
        train(settings(dataset, "training.max_epochs=1"), tmp_path / "cut", QUIET)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = resume(tmp_path / "cut", QUIET)
    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    assert client.get_run(run.run_id).info.status == "FINISHED"
    assert {item.path for item in client.list_artifacts(run.run_id)} >= {"model", "config.yaml"}
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("lost", ["the run", "the store"])
def test_a_run_that_mlflow_does_not_know_is_not_resumed(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    with interrupted(1):
        train(settings(dataset, "training.max_epochs=1"), tmp_path / "cut", QUIET)
    if lost == "the run":
        MlflowClient().delete_run(identity(tmp_path / "cut")["run_id"])
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(ModelError, match=r"which is to go on; found none, .*\.db\. Set MLFLOW_TRACKING_URI to where"):
        resume(tmp_path / "cut", QUIET)
    assert not (tmp_path / "other.db").exists()


def test_a_run_resumed_with_its_minutes_used_up_tells_the_dice_of_the_weights_that_it_exports(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.9, 0.4])  # of epoch 2, and of what is exported
    monkeypatch.setattr(segmentation, "validate", lambda *_: [[next(scores)] * 2])
    with interrupted(3):  # the last checkpoint is that of epoch 3, which was not validated
        train(settings(dataset, "training.max_epochs=9", "training.validate_every=2"), tmp_path / "cut", QUIET)
    config = tmp_path / "cut" / "config.yaml"
    config.write_text(config.read_text().replace("max_minutes: null", "max_minutes: 0.000001"))
    manifest = read_manifest(resume(tmp_path / "cut", QUIET).model)
    assert (manifest.provenance.epochs, manifest.validation_dice) == (3, 0.4)


def test_the_weights_with_the_best_dice_are_exported_where_that_is_asked_for(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.25, 0.75, 0.5])
    monkeypatch.setattr(segmentation, "validate", lambda *_: [[next(scores)] * 2])
    run = train(settings(dataset, "training.max_epochs=3", "training.export=best"), None, QUIET)
    best, last = averages(run.folder / "best.ckpt"), averages(run.folder / "last.ckpt")
    exported = load_model(run.model).network.state_dict()
    assert all(torch.equal(exported[name], tensor) for name, tensor in best.items())
    assert not all(torch.equal(exported[name], tensor) for name, tensor in last.items())
    manifest = read_manifest(run.model)
    assert (manifest.provenance.epochs, manifest.validation_dice, run.validation_dice) == (2, 0.75, 0.75)


def test_a_new_run_does_not_write_over_another(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"run_id": "other"}')
    with pytest.raises(
        ModelError, match=r"a folder for a new run without files of another; found run\.json.* in .*--resume"
    ):
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
    assert "shapes_002" in record.data.tags["mlflow.note.content"]  # what MLflow's page of the run shows first


def test_hundreds_of_equal_findings_are_one_paragraph_of_the_message(dataset: Path, tmp_path: Path) -> None:
    for image in (dataset / "imagesTr").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DatasetError, match="Expected a data set without errors") as caught:
        train(settings(dataset), tmp_path / "run", QUIET)
    assert str(caught.value).count("ERROR:") == 1
    assert "5 errors" in str(caught.value)


def test_an_error_in_training_fails_the_run_and_says_why(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: Any) -> torch.Tensor:
        return torch.tensor(torch.nan)

    monkeypatch.setattr(SegmentationLoss, "forward", diverge)
    with pytest.raises(ConfigError, match=r"Expected a finite loss; found nan at step 0\. Lower training\.optimiser"):
        train(settings(dataset), None, QUIET)
    client, record = recorded()
    assert record.info.status == "FAILED"
    message = "Expected a finite loss; found nan at step 0. Lower training.optimiser.learning_rate."
    assert record.data.tags["error"] == message
    assert record.data.tags["mlflow.note.content"] == f"**Failed.** {message}"
    assert "traceback.txt" in {item.path for item in client.list_artifacts(record.info.run_id)}


def test_the_text_of_an_error_stays_here_where_cases_are_not_to_be_named(
    dataset: Path, tmp_path: Path, write_volume: WriteVolume
) -> None:
    write_volume(min((dataset / "labelsTr").iterdir()), np.ones((4, 4, 4), np.uint8))
    with pytest.raises(DatasetError, match="shapes_001"):
        train(settings(dataset, "tracking.log_case_names=false"), tmp_path / "run", QUIET)
    client, record = recorded()
    assert record.data.tags["error"] == "DatasetError; the output of the command has its message"
    assert not any("shapes_001" in value for value in record.data.tags.values())
    assert {item.path for item in client.list_artifacts(record.info.run_id)} == set()


def test_what_an_error_said_is_gone_once_the_run_goes_on(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationLoss, "forward", lambda *_: torch.tensor(torch.nan))
        with pytest.raises(ConfigError, match="a finite loss"):
            train(settings(dataset), Path("run"), QUIET)
    run = resume(Path("run"), QUIET)
    _, record = recorded(run.run_id)
    assert record.info.status == "FINISHED"
    assert not {"error", "mlflow.note.content"} & record.data.tags.keys()


def test_the_files_that_name_cases_stay_in_the_folder_of_the_run_where_that_is_asked_for(dataset: Path) -> None:
    run = train(settings(dataset, "training.max_epochs=1", "tracking.log_case_names=false"), None, QUIET)
    client, _ = recorded(run.run_id)
    logged = {item.path for item in client.list_artifacts(run.run_id)}
    unnamed = {"config.yaml", "history.csv", "model", "packages.txt", "figures", "images", "validation_cases.json"}
    assert logged == unnamed
    assert (run.folder / "split.json").is_file()
    table = Path(client.download_artifacts(run.run_id, "validation_cases.json")).read_text()
    assert "case 0" in table
    assert "shapes" not in table


def test_labels_of_two_sides_are_not_trained_with_left_and_right_mirrored(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sided = "data.labels={left_horn: 1, right_horn: 2}"
    with monkeypatch.context() as patch:
        patch.setattr(preliminaries, "read_facts", None)  # nothing is read before
        with pytest.raises(ConfigError, match=r"left_horn and right_horn\. Set augmentation\.mirror_axes=\[1, 2\]"):
            train(settings(dataset, sided, "augmentation.mirror_axes=[0,1,2]"), None, QUIET)
    run = train(settings(dataset, sided, "augmentation.mirror_axes=[1,2]", "training.max_epochs=1"), None, QUIET)
    assert read_manifest(run.model).mirror_axes == (1, 2)  # nor does test-time mirroring


def test_a_structure_to_keep_the_largest_part_of_that_is_no_label_is_refused_before_anything_is_read(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preliminaries, "read_facts", None)
    wrong = "inference.keep_largest=[anterior, liver]"
    with pytest.raises(
        ConfigError, match=r"labels \(anterior, posterior\) in inference\.keep_largest; found liver\. Correct"
    ):
        train(settings(dataset, wrong), None, QUIET)


def test_a_run_whose_split_leaves_cases_out_can_be_resumed(dataset: Path, tmp_path: Path) -> None:
    cases = [path.name.removesuffix(".nii.gz") for path in sorted((dataset / "imagesTr").iterdir())]
    parts = {"train": cases[:2], "validation": cases[2:3], "test": cases[3:4], "unused": cases[4:]}
    (tmp_path / "split.json").write_text(json.dumps({"format_version": 1, **parts}))
    with interrupted(1):
        train(settings(dataset, "data.split.file=split.json", "training.max_epochs=1"), tmp_path / "cut", QUIET)
    run = resume(tmp_path / "cut", QUIET)
    written = json.loads((run.folder / "split.json").read_text())
    assert {name: written[name] for name in parts} == parts
    assert sorted(read_manifest(run.model).parts.values()) == ["test", "train", "train", "unused", "validation"]


def test_a_run_of_a_gpu_is_not_resumed_without_one(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    begun = settings(dataset, "training.device=cuda")
    run_folder.begin(RunFolder(tmp_path / "run"), begun)
    write_identity(
        tmp_path / "run" / "run.json",
        Identity("sqlite:///none.db", Wanted("medseg", "run"), "no run of MLflow"),
        keep_uri=True,
    )
    with pytest.raises(
        ConfigError, match=r"none on this machine\. Resume it where there is one, or set training\.device"
    ):
        resume(tmp_path / "run", QUIET)


def test_faults_of_a_data_set_end_the_command_with_code_2_and_each_of_them_named(
    planted: Planted, tmp_path: Path
) -> None:
    demo = SAMPLES.parents[1] / "configs" / "demo.yaml"
    arguments = ["train", str(demo), *TINY, f"data.root={planted.root}", "-o", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-m", "pipeline", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    for case, expected in planted.faults:
        assert case in done.stderr
        assert f"ERROR: expected {expected}\n" in done.stderr
    assert "3 errors" in done.stderr
    assert not (tmp_path / "run" / "model").exists()
    _, record = recorded()
    assert record.info.status == "FAILED"
    assert all(case in record.data.tags["error"] for case, _ in planted.faults)


def test_labels_that_the_settings_rename_are_kept_under_both_names_and_the_data_set_can_be_evaluated(
    dataset: Path, tmp_path: Path
) -> None:
    renamed = "data.labels={front: 1, back: 2}"
    run = train(settings(dataset, renamed, "training.max_epochs=1"), None, QUIET)
    model = load_model(run.model)
    assert model.manifest.labels == {"front": 1, "back": 2}
    assert model.manifest.provenance.dataset_labels == {"anterior": 1, "posterior": 2}
    inference = model.manifest.inference
    evaluation = evaluate(model, dataset, tmp_path / "out", part=None, config=inference, console=QUIET)
    assert evaluation.summary["cases"] == 1


def test_a_network_can_start_from_the_weights_of_a_model(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = train(settings(dataset, "training.max_epochs=1"), None, QUIET)
    with caplog.at_level("INFO", "pipeline"):
        again = train(settings(dataset, "training.max_epochs=1", f"network.init_from={first.model}"), None, QUIET)
    assert re.search(r"network\.init_from: (\d+) of \1 tensors taken over from ", caplog.text)
    assert weights(again) != weights(first)
    with pytest.raises(ModelError, match=r"a model folder with model\.json"):
        train(settings(dataset, "network.init_from=nowhere"), None, QUIET)


def test_a_network_can_start_from_a_model_that_mlflow_keeps(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    registered = ["tracking.register_as=first", "tracking.alias=best"]
    first = train(settings(dataset, "training.max_epochs=1", *registered), None, QUIET)
    for reference in (f"runs:/{first.run_id}/model", "models:/first@best"):
        with caplog.at_level("INFO", "pipeline"):
            again = train(settings(dataset, "training.max_epochs=1", f"network.init_from={reference}"), None, QUIET)
        assert read_manifest(again.model).provenance.init_from == weights(first)
        assert f"taken over from {reference}" in caplog.text


def test_weights_that_have_seen_what_is_tested_on_are_refused(dataset: Path) -> None:
    first = train(settings(dataset, "training.max_epochs=1"), None, QUIET)
    names = json.loads((first.folder / "split.json").read_text())
    swapped = {"format_version": 1, "train": names["test"], "validation": names["validation"], "test": names["train"]}
    Path("swapped.json").write_text(json.dumps(swapped))
    begin = [f"network.init_from={first.model}", "data.split.file=swapped.json"]
    with pytest.raises(DatasetError, match=r"found one that has from 0 to validate on and 3 kept for testing"):
        train(settings(dataset, *begin), None, QUIET)


def test_a_model_knows_what_the_weights_it_began_with_had_learnt_from(dataset: Path, tmp_path: Path) -> None:
    first = train(settings(dataset, "training.max_epochs=1"), None, QUIET)
    learnt, before = read_manifest(first.model).trained_on, weights(first)
    names = json.loads((first.folder / "split.json").read_text())
    fewer = {"format_version": 1, "train": names["train"][:1], "validation": [], "test": names["test"]}
    fewer["unused"] = [*names["train"][1:], *names["validation"]]
    (tmp_path / "split.json").write_text(json.dumps(fewer))
    begin = [f"network.init_from={first.model}", "data.split.file=split.json"]
    with interrupted(2):
        train(settings(dataset, *begin), tmp_path / "again", QUIET)
    shutil.rmtree(first.model)  # a resumed run does not need it any more
    again = read_manifest(resume(tmp_path / "again", QUIET).model)
    assert again.trained_on == learnt
    assert again.provenance.init_from == before


def test_labels_may_be_called_what_mlflow_refuses(dataset: Path) -> None:
    run = train(settings(dataset, "data.labels={tumor (core): 1, b+c: 2}", "training.max_epochs=1"), None, QUIET)
    _, recorded_run = recorded(run.run_id)
    assert {"dice_tumor _core_", "dice_b_c"} <= set(recorded_run.data.metrics)


def test_a_folder_with_the_checkpoint_of_another_run_is_no_place_for_a_new_one(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.ckpt").touch()
    with pytest.raises(ModelError, match=r"found last\.ckpt in .*run\. Choose another -o"):
        train(settings(dataset), tmp_path / "run", QUIET)


def test_a_case_that_cannot_be_prepared_is_named(dataset: Path) -> None:
    for folder in ("imagesTr", "labelsTr"):
        path = dataset / folder / "shapes_002.nii.gz"
        array = np.asarray(nibabel.Nifti1Image.from_filename(path).dataobj)
        nibabel.Nifti1Image(array, np.diag([1000.0, 1000.0, 1000.0, 1.0])).to_filename(path)
    everything = {"format_version": 1, "validation": [], "test": []}
    everything["train"] = [f"shapes_{number:03d}" for number in range(1, 6)]
    (dataset / "split.json").write_text(json.dumps(everything))
    with pytest.raises(DatasetError, match=r"Expected a scan of at most .* of the case shapes_002; found \d+ x"):
        train(settings(dataset, f"data.split.file={dataset / 'split.json'}"), None, QUIET)


@pytest.mark.parametrize(
    ("overrides", "may"),
    [
        ([], True),
        (["data.patient_pattern=(.*)"], False),
        (["data.patient_table=patients.csv"], False),
        (["data.patient_pattern=(.*)", "tracking.log_case_names=true"], True),
        (["tracking.log_case_names=false"], False),
    ],
)
def test_case_names_that_tell_patients_apart_are_not_recorded_unless_that_is_asked_for(
    dataset: Path, overrides: list[str], may: bool
) -> None:
    assert may_log_case_names(settings(dataset, *overrides)) == may


def test_a_run_that_has_finished_is_not_trained_again(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = train(settings(dataset), None, QUIET)
    results = [run.folder / "last.ckpt", run.folder / "history.csv", run.model / "model.json"]
    written = [path.stat().st_mtime_ns for path in results]
    with caplog.at_level("INFO", "pipeline"):
        again = resume(run.folder, QUIET)
    assert again == run
    assert "has finished; there is nothing left to train" in caplog.text
    assert [path.stat().st_mtime_ns for path in results] == written
    assert recorded(run.run_id)[1].info.status == "FINISHED"


def test_two_processes_do_not_train_in_one_folder(dataset: Path, tmp_path: Path) -> None:
    with interrupted(1):
        train(settings(dataset), tmp_path / "cut", QUIET)
    message = r"a run that no other process is working on; found one that is"
    with run_folder.locked(RunFolder(tmp_path / "cut").place), pytest.raises(ModelError, match=message):
        resume(tmp_path / "cut", QUIET)
    assert resume(tmp_path / "cut", QUIET).run_id == identity(tmp_path / "cut")["run_id"]


@pytest.mark.drawn
def test_mlflow_knows_the_data_the_machine_the_packages_and_the_pictures_of_a_run(dataset: Path) -> None:
    run = train(settings(dataset), None, QUIET)
    client, record = recorded(run.run_id)
    assert record.inputs is not None
    used = {each.tags[0].value: each.dataset for each in record.inputs.dataset_inputs}
    assert used.keys() == {"training", "validation", "testing"}
    assert used["training"].name == "Shapes"
    assert len({each.digest for each in used.values()}) == 3
    assert json.loads(used["training"].profile or "") == {"cases": 3}
    for tag in ("commit", "git.dirty", "hardware.cores", "hardware.gpus", "version.torch", "mlflow.source.name"):
        assert record.data.tags[tag], tag
    figures = {Path(item.path).name for item in client.list_artifacts(run.run_id, "figures")}
    drawn = {f"{name}.{ending}" for name in ("learning_curves", "reliability") for ending in ("png", "svg")}
    assert figures == {"patch_0.png", "patch_1.png"} | drawn
    assert read_manifest(run.model).temperature is not None
    pictures = [item.path for item in client.list_artifacts(run.run_id, "images") if item.path.endswith(".png")]
    assert sorted(path.split("+")[2] for path in pictures) == ["0", "1", "2"]  # epochs of the one validation case
    table = json.loads(Path(client.download_artifacts(run.run_id, "validation_cases.json")).read_text())
    assert table["columns"] == ["epoch", "case", "label", "dice"]
    assert [row[0] for row in table["data"]] == [1, 1, 2, 2]
    packages = Path(client.download_artifacts(run.run_id, "packages.txt")).read_text().splitlines()
    assert any(line.startswith("torch==") for line in packages)


def test_a_configuration_that_cannot_be_used_is_a_failed_run_that_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("name: broken\ntraining: {max_epoch: 3}\n")
    with pytest.raises(ConfigError, match="max_epoch"):
        read_config(broken, [])
    client = MlflowClient()
    (record,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    assert (record.info.status, record.info.run_name) == ("FAILED", "broken")
    assert "max_epoch" in record.data.tags["mlflow.note.content"]


def test_a_loss_that_there_is_not_is_found_before_any_data_is_read(dataset: Path, tmp_path: Path) -> None:
    config = settings(dataset, "training.loss.others={focl: 1}")
    shutil.rmtree(dataset)
    with pytest.raises(ConfigError, match=r"losses among dice, .*; found focl\. Correct training\.loss"):
        train(config, tmp_path / "run", QUIET)
