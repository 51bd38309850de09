"""`evaluate` and `score`: which cases count, and what the files say."""

import csv
import datetime
import gzip
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from rich.console import Console

from pipeline import __version__
from pipeline.commands.evaluate import evaluate
from pipeline.commands.predict import predict
from pipeline.commands.score import Evaluation, score
from pipeline.commands.selection import SplitName
from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import WatershedConfig
from pipeline.errors import DatasetError
from pipeline.evaluation.scores import cases_digest
from pipeline.formats import registry
from pipeline.inference.predictor import Predictor
from pipeline.model import load_model
from pipeline.provenance import code_commit

WriteModel = Callable[..., Path]
WriteVolume = Callable[..., Path]
QUIET = Console(quiet=True)
NAMES = ("a", "b", "c", "d")


@pytest.fixture
def dataset(tmp_path: Path, write_volume: WriteVolume) -> Path:
    """Four cases whose masks are what the model predicts, but for case d, whose organ is half as long."""
    root = tmp_path / "set"
    labels = {"background": 0, "organ": 1, "lesion": 4}
    for index, name in enumerate(NAMES):
        image = np.zeros((8, 8, 8), np.int16)
        image[2:6, 2:4, 2:4] = 10 + index
        image[6, 2:4, 2:4] = 200
        mask = np.where(image > 100, 4, image > 0).astype(np.uint8)
        if name == "d":
            mask[2:4] = 0
        write_volume(root / "imagesTr" / f"{name}.nii.gz", image)
        write_volume(root / "labelsTr" / f"{name}.nii.gz", mask)
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    return root


def content_hash(dataset: Path, name: str) -> str:
    return registry.read_scan(dataset / "imagesTr" / f"{name}.nii.gz").content_hash()


def run(model: Path, dataset: Path, output: Path, part: SplitName | None = None) -> Evaluation:
    loaded = load_model(model)
    return evaluate(loaded, dataset, output, part=part, config=loaded.manifest.inference, console=QUIET)


def scored_cases(output: Path) -> list[str]:
    with (output / "cases.csv").open(newline="", encoding="utf-8") as stream:
        return sorted({row["case"] for row in csv.DictReader(stream) if row["status"] == "ok"})


def metrics(output: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((output / "metrics.json").read_text())
    return content


# --- Which cases are scored


@pytest.fixture
def own_model(write_model: WriteModel, dataset: Path) -> Path:
    """A model that was trained on a, validated on b, and has not seen c and d, its test cases."""
    parts = {"a": "train", "b": "validation", "c": "test", "d": "test"}
    return write_model(parts={content_hash(dataset, name): part for name, part in parts.items()})


def test_on_the_models_own_data_set_the_test_cases_are_the_default(
    own_model: Path, dataset: Path, tmp_path: Path
) -> None:
    run(own_model, dataset, tmp_path / "out")
    assert scored_cases(tmp_path / "out") == ["c", "d"]
    content = metrics(tmp_path / "out")
    assert (content["cases"], content["excluded_training_cases"], content["provenance"]["part"]) == (2, 0, "test")
    assert content["left_out"] == {"train": 1, "validation": 1, "test": 0, "unused": 0, "unknown": 0}


def test_the_validation_cases_can_be_asked_for(own_model: Path, dataset: Path, tmp_path: Path) -> None:
    run(own_model, dataset, tmp_path / "out", "val")
    assert scored_cases(tmp_path / "out") == ["b"]


def test_all_leaves_out_what_the_model_was_trained_on_and_counts_it(
    own_model: Path, dataset: Path, tmp_path: Path
) -> None:
    run(own_model, dataset, tmp_path / "out", "all")
    assert scored_cases(tmp_path / "out") == ["b", "c", "d"]
    assert metrics(tmp_path / "out")["excluded_training_cases"] == 1


def test_all_cases_of_a_foreign_data_set_are_the_default(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    run(write_model(parts={"0" * 64: "train"}), dataset, tmp_path / "out")
    assert scored_cases(tmp_path / "out") == list(NAMES)
    assert metrics(tmp_path / "out")["provenance"]["part"] == "all"


def test_a_training_case_is_known_though_it_was_renamed_compressed_anew_and_turned(
    own_model: Path, dataset: Path, tmp_path: Path
) -> None:
    for folder in ("imagesTr", "labelsTr"):
        path = dataset / folder / "a.nii.gz"
        image = nibabel.Nifti1Image.from_filename(path)
        turned = image.slicer[::-1]
        turned.set_qform(turned.affine, code=1)
        turned.set_sform(turned.affine, code=1)
        path.unlink()
        renamed = dataset / folder / "another.nii.gz"
        renamed.write_bytes(gzip.compress(turned.to_bytes(), compresslevel=1))
    run(own_model, dataset, tmp_path / "out", "all")
    assert scored_cases(tmp_path / "out") == ["b", "c", "d"]
    assert metrics(tmp_path / "out")["excluded_training_cases"] == 1


def test_one_case_that_the_model_knows_does_not_hide_the_others(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    run(write_model(parts={content_hash(dataset, "b"): "train"}), dataset, tmp_path / "out")
    assert scored_cases(tmp_path / "out") == ["a", "c", "d"]
    content = metrics(tmp_path / "out")
    assert (content["provenance"]["part"], content["excluded_training_cases"]) == ("all", 1)


def test_a_data_set_of_training_cases_alone_is_refused(write_model: WriteModel, dataset: Path, tmp_path: Path) -> None:
    model = write_model(parts={content_hash(dataset, name): "train" for name in NAMES})
    with pytest.raises(DatasetError, match=r"cases to score in .*\(--split all\); found none; .* they are 4 train\."):
        run(model, dataset, tmp_path / "out", "all")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("declared", "found"),
    [
        (
            {"labels": {"background": 0, "lesion": 1, "organ": 4}},
            r"labels \(organ=1, lesion=4\); found lesion=1, organ=4",
        ),
        ({"modality": {"0": "MRI"}}, r"modalities \(CT\); found MRI in .*dataset\.json"),
    ],
    ids=["labels", "modalities"],
)
def test_a_data_set_that_means_something_else_is_refused_before_anything_is_read(
    write_model: WriteModel, dataset: Path, tmp_path: Path, declared: dict[str, Any], found: str
) -> None:
    path = dataset / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | declared))
    for image in (dataset / "imagesTr").iterdir():
        image.write_bytes(b"")
    with pytest.raises(DatasetError, match=f"Expected the model's {found}"):
        run(write_model(), dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_of_pairs_name_no_labels_and_are_scored(write_model: WriteModel, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs").mkdir()
    (dataset / "imagesTr").rename(tmp_path / "pairs" / "images")
    (dataset / "labelsTr").rename(tmp_path / "pairs" / "masks")
    run(write_model(), tmp_path / "pairs", tmp_path / "out")
    assert scored_cases(tmp_path / "out") == list(NAMES)


# --- What is written


def test_the_metrics_say_where_and_in_which_format_the_network_ran(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    model = load_model(write_model())
    config = model.manifest.inference.model_copy(update={"precision": "auto", "device": "auto"})
    evaluate(model, dataset, tmp_path / "out", part=None, config=config, console=QUIET)
    used = Predictor(model, config).compute
    provenance = metrics(tmp_path / "out")["provenance"]
    assert (provenance["device"], provenance["precision"]) == (used.device.type, used.precision)
    assert provenance["backend"] == "torch"
    assert used.precision != "auto"


def test_the_metrics_are_those_worked_out_by_hand(write_model: WriteModel, dataset: Path, tmp_path: Path) -> None:
    result = run(write_model(), dataset, tmp_path / "out")
    content = metrics(tmp_path / "out")
    # case d: 16 voxels predicted, 8 of them right: Dice 2 * 8 / (16 + 8) = 2/3, IoU 8/16, volume 8 mm3 too large
    organ, lesion = content["labels"]["organ"], content["labels"]["lesion"]
    assert organ["dice"]["mean"] == pytest.approx((3 + 2 / 3) / 4)
    assert (organ["dice"]["median"], organ["dice"]["n"]) == (1.0, 4)
    assert organ["iou"]["mean"] == pytest.approx((3 + 1 / 2) / 4)
    assert organ["volume_error_ml"]["mean"] == pytest.approx(0.008 / 4)
    assert lesion["dice"]["mean"] == 1.0
    assert content["mean_dice"] == pytest.approx(((3 + 2 / 3) / 4 + 1) / 2)
    low, high = organ["dice"]["ci95"]
    assert 2 / 3 <= low <= organ["dice"]["mean"] <= high <= 1
    assert {"mean", "std", "median", "ci95", "n"} == set(organ["hd95_mm"])
    assert {"dice", "iou", "hd95_mm", "nsd", "volume_error_ml"} <= set(organ)
    assert result.summary["mean_dice"] == content["mean_dice"]
    assert (tmp_path / "out" / "report.html").read_text().startswith("<!")
    with (tmp_path / "out" / "cases.csv").open(newline="") as stream:
        rows = [(row["case"], row["label"]) for row in csv.DictReader(stream)]
    assert rows == [(name, label) for name in NAMES for label in ("organ", "lesion")]


def test_cases_that_cannot_be_scored_are_failed_and_the_others_scored(
    write_model: WriteModel, write_volume: WriteVolume, dataset: Path, tmp_path: Path
) -> None:
    (dataset / "imagesTr" / "a.nii.gz").write_bytes(b"")
    write_volume(dataset / "labelsTr" / "b.nii.gz", np.ones((8, 8, 7), np.uint8))
    write_volume(dataset / "labelsTr" / "c.nii.gz", np.full((8, 8, 8), 9, np.uint8))
    result = run(write_model(), dataset, tmp_path / "out")
    assert result.failed == 3
    reasons = {row["case"]: row["reason"] for row in metrics(tmp_path / "out")["failed_cases"]}
    assert sorted(reasons) == ["a", "b", "c"]
    assert "Expected a mask on its image's grid; found shape 8 x 8 x 8 against 8 x 8 x 7" in reasons["b"]
    assert "Expected the label values 0, 1, 4; found also 9. Score only" in reasons["c"]
    assert scored_cases(tmp_path / "out") == ["d"]


def test_a_scan_without_its_mask_is_failed_and_not_left_out_in_silence(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    (dataset / "labelsTr" / "a.nii.gz").rename(dataset / "labelsTr" / "misnamed.nii.gz")
    assert run(write_model(), dataset, tmp_path / "out").failed == 2
    reasons = {row["case"]: row["reason"] for row in metrics(tmp_path / "out")["failed_cases"]}
    assert "Expected a mask for every scan; found none." in reasons["a"]
    assert "Expected a scan for every mask; found none." in reasons["misnamed"]
    assert scored_cases(tmp_path / "out") == ["b", "c", "d"]


def test_an_unforeseen_error_in_one_case_keeps_the_scores_of_the_others(
    write_model: WriteModel, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remaining = iter([MemoryError("no room")])

    def predict(self: Predictor, prepared: Any) -> Any:
        for error in remaining:
            raise error
        return predict_prepared(self, prepared)

    predict_prepared = Predictor.predict_prepared
    monkeypatch.setattr(Predictor, "predict_prepared", predict)
    assert run(write_model(), dataset, tmp_path / "out").failed == 1
    assert metrics(tmp_path / "out")["failed_cases"] == [{"case": "a", "reason": "MemoryError: no room"}]
    assert scored_cases(tmp_path / "out") == ["b", "c", "d"]


def test_scoring_what_predict_wrote_gives_what_evaluate_gives(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    model = load_model(write_model())
    run(tmp_path / "model", dataset, tmp_path / "evaluated")
    inference = model.manifest.inference
    predict(model, dataset / "imagesTr", tmp_path / "masks", config=inference, console=QUIET)
    config = EvaluationConfig(bootstrap_samples=100)
    score(tmp_path / "masks", dataset / "labelsTr", tmp_path / "scored", labels=model.manifest.labels, config=config)
    evaluated, scored = metrics(tmp_path / "evaluated"), metrics(tmp_path / "scored")
    assert scored["labels"] == evaluated["labels"]
    assert scored["mean_dice"] == evaluated["mean_dice"]


def test_a_model_that_asks_for_instances_is_scored_by_them_and_by_its_watershed(
    write_model: WriteModel, write_volume: WriteVolume, dataset: Path, tmp_path: Path
) -> None:
    # in case d, two blocks of 3 x 3 x 3 voxels with a bridge of one voxel, which the reference does not have
    image = np.zeros((8, 8, 8), np.int16)
    image[0:3, 2:5, 2:5] = image[4:7, 2:5, 2:5] = image[3, 3, 3] = 10
    mask = (image > 0).astype(np.uint8)
    mask[3] = 0
    write_volume(dataset / "imagesTr" / "d.nii.gz", image)
    write_volume(dataset / "labelsTr" / "d.nii.gz", mask)
    model = load_model(write_model())
    evaluation = model.manifest.evaluation.model_copy(update={"instances": True})
    model = replace(model, manifest=model.manifest.model_copy(update={"evaluation": evaluation}))
    found = {}
    for name, watershed in (
        ("parts", None),
        ("divided", WatershedConfig(labels=("organ",), peak_distance_mm=2, peak_depth_mm=0.5)),
    ):
        config = model.manifest.inference.model_copy(update={"watershed": watershed})
        evaluate(model, dataset, tmp_path / name, part=None, config=config, console=QUIET)
        organ = metrics(tmp_path / name)["labels"]["organ"]
        found[name] = [organ[f"instances_{kind}"]["mean"] * 4 for kind in ("matched", "missed", "extra")]
    # a, b and c have an organ each
    assert found == {"parts": [3, 2, 1], "divided": [5, 0, 0]}
    assert metrics(tmp_path / "divided")["provenance"]["inference"]["watershed"]["labels"] == ["organ"]


# --- The report and what it rests on


def test_both_commands_know_which_references_they_scored_and_which_code_did(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    model = load_model(write_model())
    run(tmp_path / "model", dataset, tmp_path / "evaluated")
    config = EvaluationConfig(bootstrap_samples=100)
    labels = model.manifest.labels
    score(dataset / "labelsTr", dataset / "labelsTr", tmp_path / "scored", labels=labels, config=config)
    evaluated, scored = (metrics(tmp_path / name)["provenance"] for name in ("evaluated", "scored"))
    hashes = {name: registry.read_mask(dataset / "labelsTr" / f"{name}.nii.gz").content_hash() for name in NAMES}
    assert evaluated["cases_digest"] == cases_digest(hashes)
    assert scored["cases_digest"] == cases_digest(hashes)
    for provenance in (evaluated, scored):
        assert (provenance["medseg"], provenance["commit"]) == (__version__, code_commit())
        created = datetime.datetime.fromisoformat(provenance["created"])
        assert created.utcoffset() == datetime.timedelta(0)


def test_the_best_the_median_and_the_worst_case_are_drawn_on_their_scans(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    run(write_model(), dataset, tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    # a, b and c are perfect, d is not: by name a is the best, c the median (of four, the worse in the middle)
    assert re.findall(r'<a href="#overlay-(\w+)">(\w)</a>', page) == [
        pair for pair in (("best", "a"), ("median", "c"), ("worst", "d")) for _ in ("organ", "lesion")
    ]
    assert page.count('src="data:image/png;base64,') == 3
    assert page.count("over the scan") == 3
    assert "Masks alone" not in page


def test_score_draws_masks_alone(dataset: Path, tmp_path: Path) -> None:
    config = EvaluationConfig(bootstrap_samples=100)
    score(dataset / "labelsTr", dataset / "labelsTr", tmp_path / "out", labels={"organ": 1}, config=config)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == page.count("Masks alone") == 3
    assert "over the scan" not in page


def test_no_more_than_the_drawn_cases_are_predicted_twice(
    write_model: WriteModel, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    predict_prepared = Predictor.predict_prepared

    def predict(self: Predictor, prepared: Any) -> Any:
        calls.append(prepared)
        return predict_prepared(self, prepared)

    monkeypatch.setattr(Predictor, "predict_prepared", predict)
    run(write_model(), dataset, tmp_path / "out")
    assert len(calls) == len(NAMES) + 3


def test_a_picture_that_fails_costs_nothing_but_itself(
    write_model: WriteModel,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[Any] = []
    predict_prepared = Predictor.predict_prepared

    def predict(self: Predictor, prepared: Any) -> Any:
        calls.append(prepared)
        if len(calls) == len(NAMES) + 2:  # the second picture, of case c
            raise MemoryError("no room")
        return predict_prepared(self, prepared)

    monkeypatch.setattr(Predictor, "predict_prepared", predict)
    assert run(write_model(), dataset, tmp_path / "out").failed == 0
    assert scored_cases(tmp_path / "out") == list(NAMES)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 2
    assert "No picture could be drawn." in page
    assert "MemoryError: no room" in page
    assert "No picture of case c: MemoryError: no room" in caplog.text


# --- How a data set is arranged


def test_a_configuration_says_how_the_data_set_is_arranged(
    write_model: WriteModel, dataset: Path, tmp_path: Path
) -> None:
    (dataset / "dataset.json").unlink()
    files = '{images: ["imagesTr/{case}.nii.gz"], masks: ["labelsTr/{case}.nii.gz"]}'
    (tmp_path / "mine.yaml").write_text(f"name: mine\ndata: {{root: {dataset.name}, files: {files}}}\n")
    run(write_model(), tmp_path / "mine.yaml", tmp_path / "out")
    assert scored_cases(tmp_path / "out") == list(NAMES)


def test_a_configuration_of_other_labels_is_refused(write_model: WriteModel, dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(f"name: mine\ndata: {{root: {dataset.name}, labels: {{liver: 1}}}}\n")
    with pytest.raises(DatasetError, match=r"of the model \(organ=1, lesion=4\); found liver=1 in mine\.yaml"):
        run(write_model(), tmp_path / "mine.yaml", tmp_path / "out")


def arranged(tmp_path: Path, *, view: bool) -> Path:
    """A configuration of the files of each case in a folder of its own, with a field of view or without."""
    extra = ', field_of_view: "{case}/view.nii.gz"' if view else ""
    files = f'{{images: ["{{case}}/scan.nii.gz"], masks: ["{{case}}/seg.nii.gz"]{extra}}}'
    path = tmp_path / f"view_{view}.yaml"
    path.write_text(f"name: mine\ndata: {{root: cases, files: {files}}}\n")
    return path


@pytest.fixture
def with_views(dataset: Path, tmp_path: Path, write_volume: WriteVolume) -> Path:
    """The cases with a folder each, of which the field of view is one half."""
    for name in NAMES:
        folder = tmp_path / "cases" / name
        folder.mkdir(parents=True)
        for part, file in (("imagesTr", "scan"), ("labelsTr", "seg")):
            (dataset / part / f"{name}.nii.gz").rename(folder / f"{file}.nii.gz")
        view = np.zeros((8, 8, 8), np.uint8)
        view[:4] = 1
        write_volume(folder / "view.nii.gz", view)
    return tmp_path / "cases"


@pytest.mark.usefixtures("with_views")
def test_scores_inside_a_field_of_view_are_not_those_of_the_same_references(
    write_model: WriteModel, tmp_path: Path
) -> None:
    digests = set()
    for view in (False, True):
        run(write_model(), arranged(tmp_path, view=view), tmp_path / f"out_{view}")
        digests.add(metrics(tmp_path / f"out_{view}")["provenance"]["cases_digest"])
    assert len(digests) == 2


def test_a_case_that_lacks_a_file_is_failed_and_named(
    write_model: WriteModel, with_views: Path, tmp_path: Path
) -> None:
    (with_views / "b" / "view.nii.gz").unlink()
    for name in "cd":
        (with_views / name / "scan.nii.gz").unlink()
    run(write_model(), arranged(tmp_path, view=True), tmp_path / "out")
    failed = {failure["case"]: failure["reason"] for failure in metrics(tmp_path / "out")["failed_cases"]}
    assert sorted(failed) == ["b", "c", "d"]
    assert failed["b"].startswith("Expected every file of the case; found no view.nii.gz.")
    assert scored_cases(tmp_path / "out") == ["a"]
