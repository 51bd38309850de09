"""What people have beside one NIfTI file a case: slices, channels in files of their own, fields of view."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pytest
from nibabel.loadsave import save
from nibabel.nifti1 import Nifti1Image
from numpy.typing import NDArray
from pandas import DataFrame
from PIL import Image
from rich.console import Console

from pipeline.commands.evaluate import evaluate
from pipeline.commands.predict import predict
from pipeline.commands.train import TrainedRun, train
from pipeline.inference.predictor import Predictor
from pipeline.metrics.overlap import Overlap
from pipeline.model import Model, load_model
from pipeline.serving import PyfuncModel
from tests.commands.conftest import SAMPLES, settings
from tests.conftest import RealData

pytestmark = pytest.mark.usefixtures("tracked_here")
QUIET = Console(quiet=True)
IN_PLANE = [
    "network.dimensions=2",
    "training.patch_size=[16,16]",
    "augmentation.mirror_axes=[0]",
    "training.max_epochs=1",
]


def trained(dataset: Path, *overrides: str) -> tuple[TrainedRun, Model]:
    run = train(settings(dataset, "training.max_epochs=1", *overrides), Path("run"), QUIET)
    return run, load_model(run.model)


def read(path: Path) -> Nifti1Image:
    return Nifti1Image.from_filename(path)


def voxels(path: Path) -> NDArray:
    return np.asarray(read(path).dataobj)


def rows(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "cases.csv").open(newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_a_network_of_images_is_trained_on_slices_and_writes_volumes(dataset: Path) -> None:
    _, model = trained(dataset, *IN_PLANE)
    assert model.manifest.network.dimensions == 2
    assert model.manifest.preprocessing.slice_axis is not None
    scan = next(iter(sorted((SAMPLES / "imagesTs").iterdir())))
    predict(model, scan, Path("masks"), config=model.manifest.inference, console=QUIET)
    (mask,) = Path("masks").glob("*/mask.nii.gz")
    assert read(mask).shape == read(scan).shape
    np.testing.assert_allclose(read(mask).affine, read(scan).affine)


def photographs(root: Path) -> Path:
    """Five colour pictures with a bright disc, its mask as GIF of other names and grey levels, and fields of view."""
    columns, rows = np.meshgrid(np.arange(56), np.arange(40))
    for folder in ("images", "1st_manual", "mask"):
        (root / folder).mkdir(parents=True)
    for number in range(21, 26):
        rng = np.random.default_rng(number)
        inside = (columns - 40) ** 2 + (rows - rng.integers(9, 14)) ** 2 < 49
        picture = rng.integers(20, 80, (40, 56, 3)) + 120 * inside[..., None] * np.array([1, 0.5, 0])
        view = columns > 8
        Image.fromarray(picture.astype(np.uint8)).save(root / f"images/{number}_training.tif")
        Image.fromarray(np.where(inside, 250, 9).astype(np.uint8)).save(root / f"1st_manual/{number}_manual1.gif")
        Image.fromarray(255 * view.astype(np.uint8)).save(root / f"mask/{number}_training_mask.gif")
    return root


def test_pictures_are_trained_on_scored_and_predicted_in_their_own_format(tmp_path: Path) -> None:
    root = photographs(tmp_path / "eyes")
    coding = [
        "data.layout=auto",
        "data.labels={disc: 1}",
        "data.mask.threshold=127",
        "data.modalities=[red,green,blue]",
    ]
    quick = ["training.ema_decay=0", "training.optimiser.warmup_steps=2", "training.optimiser.learning_rate=0.01"]
    training = [*quick, "training.patch_size=[32,32]", "training.max_epochs=1", "training.iterations_per_epoch=60"]
    _, model = trained(root, *IN_PLANE, *coding, *training, "augmentation.colour=0.2", "augmentation.mirror_axes=[]")
    assert (model.manifest.preprocessing.unit, model.manifest.labels) == ("px", {"disc": 1})
    config = model.manifest.inference
    (tmp_path / "eyes.yaml").write_text("name: eyes\ndata: {root: eyes, labels: {disc: 1}, mask: {threshold: 127}}\n")
    result = evaluate(model, tmp_path / "eyes.yaml", Path("out"), part="all", config=config, console=QUIET)
    assert result.summary["mean_dice"] > 0.8
    predict(model, root / "images", Path("masks"), config=config, console=QUIET)
    for number in range(21, 26):
        with Image.open(f"masks/{number}_training/mask.tif") as mask, Image.open(_truth(root, number)) as truth:
            inside = (np.asarray(mask) == 1)[:, 9:], (np.asarray(truth.convert("L")) > 127)[:, 9:]
        assert (Overlap.of(*inside).dice or 0.0) > 0.8  # of a mask that is turned or mirrored, it would be 0


def _truth(root: Path, number: int) -> Path:
    return root / "1st_manual" / f"{number}_manual1.gif"


def two_channels(root: Path) -> Path:
    """Five cases, a folder each, with a file a channel, a mask and something else."""
    for scan in sorted((SAMPLES / "imagesTr").iterdir())[:5]:
        folder = root / scan.name.removesuffix(".nii.gz")
        folder.mkdir(parents=True)
        shutil.copy(scan, folder / "Flair.nii.gz")
        save(Nifti1Image(-voxels(scan), read(scan).affine), folder / "T1c.nii.gz")
        shutil.copy(SAMPLES / "labelsTr" / scan.name, folder / "seg.nii.gz")
    return root


def test_a_case_of_two_files_is_trained_on_predicted_and_served_and_a_missing_channel_is_named(tmp_path: Path) -> None:
    root = two_channels(tmp_path / "brats")
    files = 'data.files={images: ["{case}/Flair.nii.gz", "{case}/T1c.nii.gz"], masks: ["{case}/seg.nii.gz"]}'
    names = "data.labels={anterior: 1, posterior: 2}"
    run, model = trained(root, files, "data.layout=auto", "data.modalities=[FLAIR, T1c]", names)
    assert (model.manifest.modalities, model.manifest.channel_files) == (
        ("FLAIR", "T1c"),
        ("{case}/Flair", "{case}/T1c"),
    )
    first, second, *_ = sorted(path.name for path in root.iterdir())
    (root / second / "T1c.nii.gz").unlink()
    result = predict(model, root, Path("masks"), config=model.manifest.inference, console=QUIET)
    found = rows(Path("masks"))
    assert (found[first]["action"], found[second]["status"], result.failed) == ("done", "failed", 1)
    assert "none for T1c ({case}/T1c)" in found[second]["reason"]
    assert found[f"{first}__seg"]["status"] == "skipped"
    served = PyfuncModel(Predictor(load_model(run.model), model.manifest.inference))
    answer = served.predict(DataFrame({"path": [str(root / first), str(root / second), str(root)]}))
    assert np.array_equal(answer["mask"][0], voxels(Path("masks") / first / "mask.nii.gz"))
    assert "none for T1c" in answer["reason"][1]
    assert "or the files of one case; found 5 at" in answer["reason"][2]


def test_voxels_outside_the_field_of_view_count_in_no_score(tmp_path: Path) -> None:
    root = two_channels(tmp_path / "set")
    for folder in root.iterdir():
        scan = read(folder / "Flair.nii.gz")
        view = np.zeros(scan.shape, np.uint8)
        view[: scan.shape[0] // 2] = 255
        save(Nifti1Image(view, scan.affine), folder / "view.nii.gz")
    images = 'images: ["{case}/Flair.nii.gz"], masks: ["{case}/seg.nii.gz"], field_of_view: "{case}/view.nii.gz"'
    _, model = trained(root, f"data.files={{{images}}}", "data.labels={anterior: 1, posterior: 2}")
    config = model.manifest.inference
    evaluate(model, root, Path("out"), part="test", config=config, console=QUIET)
    predict(model, root, Path("masks"), config=config, console=QUIET)
    with Path("out/cases.csv").open(newline="") as stream:
        scores = [row for row in csv.DictReader(stream) if row["label"] == "anterior"]
    assert scores
    for row in scores:
        files = Path("masks") / f"{row['case']}__Flair" / "mask.nii.gz", root / row["case"] / "seg.nii.gz"
        mask, truth = (voxels(path)[: len(voxels(path)) // 2] == 1 for path in files)
        assert float(row["dice"]) == pytest.approx(Overlap.of(mask, truth).dice)
        voxel_ml = abs(np.linalg.det(read(files[1]).affine)) / 1000
        assert float(row["reference_ml"]) < np.count_nonzero(voxels(files[1]) == 1) * voxel_ml


def test_real_scans_of_two_files_are_trained_on_and_predicted_and_a_missing_channel_is_named(
    real_data: RealData, tmp_path: Path
) -> None:
    root = real_data("brats")
    images = 'images: ["{case}/Flair_subtrMeanDivStd.nii.gz", "{case}/T1c_subtrMeanDivStd.nii.gz"]'
    labels = "data.labels={necrosis: 1, oedema: 2, solid: 3, enhancing: 4}"
    files = f'data.files={{{images}, masks: ["{{case}}/OTMultiClass.nii.gz"]}}'
    halves = ["data.split.validation=0.5", "data.split.test=0", "augmentation.mirror_axes=[0]"]
    coarse = ["preprocessing.spacing_mm=[3,3,3]", "training.patch_size=[32,32,32]"]
    _, model = trained(root, files, labels, "data.modalities=[FLAIR, T1c]", *halves, *coarse)
    (whole, lacking) = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in (whole, lacking):
        (tmp_path / "scans" / folder.name).mkdir(parents=True)
        for path in folder.glob("*_subtrMeanDivStd.nii.gz"):
            (tmp_path / "scans" / folder.name / path.name).symlink_to(path)
    (tmp_path / "scans" / lacking.name / "T1c_subtrMeanDivStd.nii.gz").unlink()
    predict(model, tmp_path / "scans", Path("masks"), config=model.manifest.inference, console=QUIET)
    found = rows(Path("masks"))
    assert (found[whole.name]["action"], found[lacking.name]["status"]) == ("done", "failed")
    assert "none for T1c" in found[lacking.name]["reason"]
    mask, scan = read(Path("masks") / whole.name / "mask.nii.gz"), read(next(whole.glob("Flair*")))
    assert mask.shape == scan.shape
    np.testing.assert_allclose(mask.affine, scan.affine)
