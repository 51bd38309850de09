"""Training autoencoders from a configuration to a model: reproducible, tracked, resumable, and a start for a U-Net."""

import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from PIL import Image
from rich.console import Console

from pipeline.commands import pretrain as pretrain_module
from pipeline.commands.job import save
from pipeline.commands.pretrain import PretrainedRun, pretrain, resume
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.train import resume as resume_training
from pipeline.commands.train import train
from pipeline.config.load import load_pretraining
from pipeline.config.pretraining import PretrainingConfig
from pipeline.errors import ConfigError, DatasetError, ModelError
from pipeline.files import file_sha256
from pipeline.manifest import read_autoencoder_manifest, read_manifest
from pipeline.model import load_autoencoder
from pipeline.training.state import TrainingState
from tests.commands.conftest import TINY, settings

QUIET = Console(file=io.StringIO())
CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "autoencoders"
KINDS = {
    "undercomplete": ["autoencoder.code_channels=2"],
    "sparse": ["autoencoder.code_channels=8"],
    "denoising": [],
    "variational": ["autoencoder.code_size=4", "autoencoder.code_channels=2"],
    "masked": ["autoencoder.corruption.masked_block_voxels=4"],
    "super_resolution": [],
}
pytestmark = pytest.mark.usefixtures("tracked_here")


def configured(name: str, dataset: Path, *overrides: str) -> PretrainingConfig:
    skips = "null" if name in ("denoising", "masked", "super_resolution") else "[false]"
    small = [each for each in TINY if not each.startswith("name=")]
    kernels, rotation = "network.kernels=null", "augmentation.rotation=0"
    changes = [*small, kernels, rotation, f"network.skips={skips}", *KINDS[name], f"data.root={dataset}", *overrides]
    return load_pretraining(CONFIGS / f"{name}.yaml", changes)


def history(run: PretrainedRun) -> list[dict[str, str]]:
    with (run.folder / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def weights(run: PretrainedRun) -> str:
    return file_sha256(run.model / "weights.safetensors")


@contextmanager
def interrupted(epoch: int) -> Iterator[None]:
    """Training in which an interrupt arrives after the checkpoint of an epoch."""

    def interrupt(folder: RunFolder, state: TrainingState, *, is_best: bool) -> None:
        save(folder, state, is_best=is_best)
        if state.counters.epoch == epoch:
            raise KeyboardInterrupt("of a test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain_module, "save", interrupt)
        with pytest.raises(KeyboardInterrupt, match="of a test"):
            yield


@pytest.mark.parametrize("name", KINDS)
def test_every_shipped_configuration_trains_and_its_model_reconstructs(name: str, dataset: Path) -> None:
    run = pretrain(configured(name, dataset), None, QUIET)
    model = load_autoencoder(run.model)
    assert model.manifest.name == name
    assert model.manifest.validation == run.validation
    assert run.validation["mse"] > 0
    x = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        assert model.network(x).output.shape == x.shape
    rows = history(run)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[-1]["mse"]) == pytest.approx(run.validation["mse"])
    assert bool(rows[-1]["kl"]) == (name == "variational")
    assert bool(rows[-1]["active_share"]) == (name == "sparse")
    assert bool(rows[-1]["input_mse"]) == (name in ("denoising", "masked", "super_resolution"))
    assert (run.folder / "figures" / "reconstructions" / "epoch_0002.png").exists()
    assert (run.folder / "figures" / "codes" / "epoch_0002.png").exists()
    assert {"learning_curves.png", "learning_curves.svg"} <= {each.name for each in (run.folder / "figures").iterdir()}


@pytest.mark.drawn
def test_mlflow_has_the_curves_the_pictures_and_the_model(dataset: Path) -> None:
    run = pretrain(configured("variational", dataset), None, QUIET)
    client = MlflowClient()
    recorded = client.get_run(run.run_id)
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["autoencoder.kind"] == "variational"
    assert [each.step for each in client.get_metric_history(run.run_id, "kl")] == [1, 2]
    assert recorded.data.metrics["mse"] == pytest.approx(run.validation["mse"])
    artifacts = {each.path for each in client.list_artifacts(run.run_id)}
    assert {"model", "figures", "images", "history.csv", "packages.txt", "config.yaml"} <= artifacts
    assert recorded.data.tags["mlflow.source.name"] == "medseg pretrain"


def test_the_same_seed_gives_the_same_weights_whatever_the_number_of_workers(dataset: Path) -> None:
    runs = [pretrain(configured("denoising", dataset, f"training.workers={n}"), None, QUIET) for n in (0, 2)]
    assert weights(runs[0]) == weights(runs[1])
    other = pretrain(configured("denoising", dataset, "training.seed=1"), None, QUIET)
    assert weights(other) != weights(runs[0])


@pytest.mark.parametrize("name", ["variational", "sparse"])
def test_a_resumed_run_gives_what_the_uninterrupted_one_gives(name: str, dataset: Path, tmp_path: Path) -> None:
    """A code is drawn, or dropped out, at random: the generator's state belongs to the checkpoint."""
    changes = ["training.max_epochs=3", *(["autoencoder.sparsity.dropout=0.3"] if name == "sparse" else [])]
    whole = pretrain(configured(name, dataset, *changes), None, QUIET)
    with interrupted(2):
        pretrain(configured(name, dataset, *changes), tmp_path / "cut", QUIET)
    resumed = resume(tmp_path / "cut", QUIET)
    assert weights(resumed) == weights(whole)
    assert [row["mse"] for row in history(resumed)] == [row["mse"] for row in history(whole)]
    assert resume(tmp_path / "cut", QUIET).validation == resumed.validation  # there is nothing left to do


def test_masks_are_not_needed(dataset: Path) -> None:
    shutil.rmtree(dataset / "labelsTr")
    scans = dataset.parent / "scans" / "deeper"
    scans.mkdir(parents=True)
    for path in (dataset / "imagesTr").iterdir():
        shutil.copy(path, scans)
    run = pretrain(configured("undercomplete", scans.parent, "data.layout=auto"), None, QUIET)
    parts = sorted(read_autoencoder_manifest(run.model).parts.values())
    assert parts == ["test", "train", "train", "train", "validation"]


def test_scans_without_a_mask_are_trained_on_beside_those_that_are_divided(dataset: Path) -> None:
    alone = read_autoencoder_manifest(pretrain(configured("undercomplete", dataset), None, QUIET).model).parts
    further = dataset.parents[0] / "more"
    shutil.copytree(dataset, further)
    (further / "imagesTs").mkdir()
    samples = Path(__file__).resolve().parents[2] / "data_samples" / "shapes" / "imagesTr"
    spare = sorted(path for path in samples.iterdir() if not (dataset / "imagesTr" / path.name).exists())[0]
    shutil.copy(spare, further / "imagesTs")
    text = (further / "dataset.json").read_text()
    (further / "dataset.json").write_text(text.replace('"test": []', f'"test": ["./imagesTs/{spare.name}"]'))
    found = read_autoencoder_manifest(pretrain(configured("undercomplete", further), None, QUIET).model).parts
    assert {case: part for case, part in found.items() if case in alone} == alone
    assert [part for case, part in found.items() if case not in alone] == ["train"]


def test_a_u_net_starts_from_an_autoencoder_and_says_layer_by_layer_what_it_took(
    dataset: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = pretrain(configured("undercomplete", dataset), None, QUIET)
    with caplog.at_level("INFO"):
        run = train(settings(dataset, "training.max_epochs=1", f"network.init_from={first.model}"), None, QUIET)
    assert re.search(r"init_from: \d+ of \d+ tensors taken over from", caplog.text)
    told = (run.folder / "origin" / "layers.txt").read_text().splitlines()
    assert "encoder.0: taken over" in told
    assert "encoder.1: taken over" in told
    assert "decoder.0.blocks.0.0.weight: new, 4 x 8 x 3 x 3 x 3 and not 4 x 4 x 3 x 3 x 3" in told
    assert any(line.startswith("heads.0.") and line.endswith("not in the model") for line in told)
    assert all(line in caplog.text for line in told)
    assert read_manifest(run.model).provenance.init_from == weights(first)


def test_a_u_net_takes_everything_but_its_head_from_a_masked_autoencoder(dataset: Path) -> None:
    first = pretrain(configured("masked", dataset), None, QUIET)
    run = train(settings(dataset, "training.max_epochs=1", f"network.init_from={first.model}"), None, QUIET)
    told = (run.folder / "origin" / "layers.txt").read_text().splitlines()
    assert {line.split(".")[0] for line in told if "new" in line} == {"heads"}


def test_a_u_net_is_not_tested_on_what_its_start_has_learnt_from(dataset: Path, tmp_path: Path) -> None:
    first = pretrain(configured("undercomplete", dataset, "data.split.seed=5"), None, QUIET)
    with pytest.raises(DatasetError, match=r"a model in network\.init_from that has not learnt from cases"):
        train(settings(dataset, "data.split.seed=6", f"network.init_from={first.model}"), tmp_path / "run", QUIET)


def test_an_autoencoder_is_no_model_that_segments(dataset: Path, tmp_path: Path) -> None:
    run = pretrain(configured("undercomplete", dataset), tmp_path / "run", QUIET)
    with pytest.raises(ModelError, match=r"a model that segments, .*; found an autoencoder in"):
        read_manifest(run.model)
    with pytest.raises(ConfigError, match=r"autoencoder: is no setting"):
        resume_training(tmp_path / "run", QUIET)
    segments = train(settings(dataset, "training.max_epochs=1"), None, QUIET)
    with pytest.raises(ModelError, match=r"an autoencoder, .*; found a model that segments in"):
        load_autoencoder(segments.model)


def test_the_map_of_codes_is_coloured_by_a_column_of_a_table(dataset: Path) -> None:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (dataset / "imagesTr").iterdir())
    rows = "".join(f"{name},{'F' if number % 2 else 'M'}\n" for number, name in enumerate(names))
    (dataset / "cases.csv").write_text("case,sex\n" + rows)
    table = dataset.parent / "elsewhere.csv"
    shutil.move(dataset / "cases.csv", table)
    changes = ["autoencoder.map_column=sex", f"autoencoder.map_table={table}"]
    run = pretrain(configured("undercomplete", dataset, *changes), None, QUIET)
    assert (run.folder / "figures" / "codes" / "epoch_0002.png").exists()
    with pytest.raises(DatasetError, match=r"columns case and age in .*; found the columns case, sex\. .*map_column"):
        pretrain(configured("undercomplete", dataset, "autoencoder.map_column=age", changes[1]), None, QUIET)
    with pytest.raises(DatasetError, match=r"a CSV file of cases; found .*cases\.csv: No such file.*map_table"):
        pretrain(configured("undercomplete", dataset, changes[0]), None, QUIET)


def test_scans_without_a_mask_of_a_patient_to_test_on_are_left_out(
    dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of each patient one scan has a mask, and a later one has none."""
    names = [path.name.removesuffix(".nii.gz") for path in sorted((dataset / "imagesTr").iterdir())]
    root = tmp_path / "years"
    for number, name in enumerate(names):
        for folder, year in (("images", 1), ("images", 2), ("masks", 1)):
            source = dataset / ("imagesTr" if folder == "images" else "labelsTr") / f"{name}.nii.gz"
            target = root / folder / f"p{number}_{year}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            image = nibabel.Nifti1Image.from_filename(source)
            array = np.asarray(image.dataobj) + (year - 1 if folder == "images" else 0)
            nibabel.Nifti1Image(array, image.affine).to_filename(target)
    changes = ["data.layout=auto", r"data.patient_pattern=^(p\d)_", "training.max_epochs=1"]
    run = pretrain(configured("undercomplete", root, *changes), tmp_path / "run", QUIET)
    split = json.loads((run.folder / "split.json").read_text())
    judged = {name[:2] for name in (*split["validation"], *split["test"])}
    assert len(judged) == 2
    assert split["unlabelled"] == sorted(f"p{number}_2" for number in range(5) if f"p{number}" not in judged)
    assert "2 of 5 scans without a mask are left out" in caplog.text
    parts = list(read_autoencoder_manifest(run.model).parts.values())
    assert (parts.count("train"), parts.count("validation"), parts.count("test")) == (6, 1, 1)
    taken = [*changes, f"data.split.file={run.folder / 'split.json'}"]
    again = pretrain(configured("undercomplete", root, *taken), tmp_path / "again", QUIET)
    assert weights(again) == weights(run)


def test_a_run_with_scans_without_a_mask_is_resumed(dataset: Path, tmp_path: Path) -> None:
    (dataset / "labelsTr" / sorted((dataset / "labelsTr").iterdir())[0].name).unlink()
    content = json.loads((dataset / "dataset.json").read_text())
    first, *content["training"] = content["training"]
    content["test"] = [first["image"]]
    (dataset / "dataset.json").write_text(json.dumps(content))
    whole = pretrain(configured("undercomplete", dataset), tmp_path / "whole", QUIET)
    with interrupted(1):
        pretrain(configured("undercomplete", dataset), tmp_path / "cut", QUIET)
    assert weights(resume(tmp_path / "cut", QUIET)) == weights(whole)
    assert len(json.loads((tmp_path / "cut" / "split.json").read_text())["unlabelled"]) == 1


def test_a_map_whose_legend_names_patients_stays_in_the_run_s_folder(dataset: Path) -> None:
    names = sorted(path.name.removesuffix(".nii.gz") for path in (dataset / "imagesTr").iterdir())
    (dataset / "cases.csv").write_text("case,patient\n" + "".join(f"{name},Doe\n" for name in names))
    table = dataset.parent / "elsewhere.csv"
    shutil.move(dataset / "cases.csv", table)
    changes = ["autoencoder.map_column=patient", f"autoencoder.map_table={table}", "tracking.log_case_names=false"]
    run = pretrain(configured("undercomplete", dataset, *changes), None, QUIET)
    assert (run.folder / "figures" / "codes" / "epoch_0002.png").exists()
    sent = [each.path for each in MlflowClient().list_artifacts(run.run_id, "images")]
    assert any("reconstructions" in path for path in sent)
    assert not any("codes" in path for path in sent)


def test_a_start_that_saw_other_intensities_is_warned_of(dataset: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = pretrain(configured("masked", dataset, "preprocessing.spacing_mm=[2,2,2]"), None, QUIET)
    train(settings(dataset, "training.max_epochs=1", f"network.init_from={first.model}"), None, QUIET)
    assert "network.init_from: that model saw a spacing of (2.0, 2.0, 2.0) mm" in caplog.text


def test_images_and_several_channels_are_trained_on_as_well(dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "pictures"
    root.mkdir()
    for number in range(5):
        rng = np.random.default_rng(number)
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(root / f"cell_{number}.png")
    flat = ["network.dimensions=2", "training.patch_size=[16,16]", "network.strides=null"]
    changes = [*flat, "data.layout=auto", "augmentation.mirror_axes=[0,1]", "augmentation.scaling=0"]
    run = pretrain(configured("variational", root, *changes), None, QUIET)
    model = load_autoencoder(run.model)
    assert (model.manifest.modalities, model.manifest.network.dimensions) == (("red", "green", "blue"), 2)
    with torch.inference_mode():
        assert model.network(torch.randn(1, 3, 16, 16)).output.shape == (1, 3, 16, 16)
    assert dataset.exists()
