import csv
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.evaluation import EvaluationConfig
from pipeline.errors import DatasetError
from pipeline.evaluation import (
    METRICS,
    CaseScore,
    FailedCase,
    labels_in,
    score_case,
    score_folders,
    summarise,
    write_evaluation,
)
from pipeline.metrics import surface
from pipeline.metrics.overlap import Overlap

CONFIG = EvaluationConfig(nsd_tolerance_mm=1.0, bootstrap_samples=500, seed=0)
LABELS = {"heart": 1, "lung": 2}
AFFINE = np.diag([2.0, 1.0, 1.0, 1.0])  # a voxel is 2 mm3


def row_of(*values: int) -> NDArray[np.uint8]:
    """A mask of shape (3, 3, N) that is empty but for a row of values along its last axis."""
    mask = np.zeros((3, 3, len(values)), dtype=np.uint8)
    mask[1, 1] = values
    return mask


def scored(case: str, label: str = "heart", **values: float | None) -> CaseScore:
    """A score; what is not given is undefined, and the volumes are those of two masks that are not empty."""
    metrics: dict[str, Any] = {**dict.fromkeys(METRICS), "reference_ml": 1.0, "predicted_ml": 1.0, **values}
    return CaseScore(case=case, label=label, **metrics)


def summary_of(scores: list[CaseScore], labels: tuple[str, ...] = ("heart",), **changes: Any) -> dict[str, Any]:
    return summarise(scores, labels, CONFIG, **{"excluded_training_cases": 0, "failed": [], **changes})


def save(path: Path, mask: NDArray[np.uint8], affine: NDArray[np.float64] = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(mask, affine).to_filename(path)


# A case ------------------------------------------------------------------------------------------------------------


def test_a_case_is_scored_label_by_label() -> None:
    # heart: two voxels in common, 3 predicted, 4 in the reference; lung: apart by one voxel of 1 mm.
    prediction = row_of(1, 1, 1, 0, 0, 0, 2, 0)
    reference = row_of(0, 1, 1, 1, 1, 0, 0, 2)
    heart, lung = score_case("a", prediction, reference, AFFINE, LABELS, CONFIG)
    assert (heart.case, heart.label, lung.label) == ("a", "heart", "lung")
    assert (heart.dice, heart.iou) == pytest.approx((4 / 7, 2 / 5))
    assert (heart.precision, heart.recall) == pytest.approx((2 / 3, 2 / 4))
    assert (heart.predicted_ml, heart.reference_ml) == pytest.approx((0.006, 0.008))
    assert heart.volume_error_ml == pytest.approx(-0.002)
    # Distances of the heart: prediction 1, 0, 0; reference 0, 0, 1, 2, whose 95th percentile is 1 + 0.85.
    assert heart.hd95_mm == pytest.approx(1.85)
    assert heart.asd_mm == pytest.approx(4 / 7)
    assert heart.nsd == pytest.approx(6 / 7)
    assert (lung.dice, lung.hd95_mm, lung.asd_mm, lung.nsd) == (0, 1, 1, 1)


def test_looking_at_the_region_of_a_label_alone_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    prediction, reference = generator.integers(0, 4, size=(2, 9, 8, 7), dtype=np.uint8)
    prediction[:, :4], reference[5:] = 0, 0
    for score in score_case("a", prediction, reference, AFFINE, {"x": 1, "y": 3}, CONFIG):
        ours, theirs = (array == {"x": 1, "y": 3}[score.label] for array in (prediction, reference))
        distances = surface.surface_distances(ours, theirs, (2.0, 1.0, 1.0))
        assert score.dice == Overlap.of(ours, theirs).dice
        assert score.asd_mm == pytest.approx(surface.asd_mm(distances), rel=1e-12)
        assert score.hd95_mm == pytest.approx(surface.hd95_mm(distances), rel=1e-12)
        assert score.nsd == surface.nsd(distances, 1.0)


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_structure_in_one_slice_of_a_volume_is_all_surface(index: int) -> None:
    prediction, reference = np.zeros((2, 5, 5, 4), dtype=np.uint8)
    prediction[1:4, 1:4, index], reference[2, 2, index] = 1, 1
    (score,) = score_case("a", prediction, reference, np.eye(4), {"heart": 1}, CONFIG)
    # The centre of the 3 x 3 square is surface as well: 0, four times 1, four times sqrt(2), and 0 for the reference.
    assert score.asd_mm == pytest.approx((4 + 4 * np.sqrt(2)) / 10)


def test_a_label_absent_from_both_masks_has_no_score() -> None:
    (score,) = score_case("a", row_of(0, 2), row_of(0, 2), AFFINE, {"heart": 1}, CONFIG)
    assert [getattr(score, metric) for metric in METRICS] == [None] * len(METRICS)
    assert (score.reference_ml, score.predicted_ml) == (0, 0)
    assert (score.both_empty, score.one_empty) == (True, False)


def test_a_label_that_is_only_predicted_scores_zero_and_has_no_distances() -> None:
    (score,) = score_case("a", row_of(1, 1), row_of(0, 0), AFFINE, {"heart": 1}, CONFIG)
    assert (score.dice, score.iou, score.nsd, score.precision) == (0, 0, 0, 0)
    assert (score.recall, score.hd95_mm, score.asd_mm) == (None, None, None)
    assert score.volume_error_ml == pytest.approx(0.004)
    assert (score.both_empty, score.one_empty) == (False, True)


def test_a_label_that_was_missed_scores_zero_and_has_no_distances() -> None:
    (score,) = score_case("a", row_of(0, 0), row_of(1, 1), AFFINE, {"heart": 1}, CONFIG)
    assert (score.dice, score.iou, score.nsd, score.recall) == (0, 0, 0, 0)
    assert (score.precision, score.hd95_mm, score.asd_mm) == (None, None, None)
    assert score.volume_error_ml == pytest.approx(-0.004)
    assert (score.both_empty, score.one_empty) == (False, True)


# Statistics --------------------------------------------------------------------------------------------------------


def test_statistics_of_a_metric_over_three_cases() -> None:
    summary = summary_of([scored("a", dice=0.5), scored("b", dice=0.9), scored("c", dice=1.0)])
    statistics = summary["labels"]["heart"]["dice"]
    assert statistics["mean"] == pytest.approx(0.8)
    assert statistics["std"] == pytest.approx(np.sqrt((0.09 + 0.01 + 0.04) / 2))
    assert statistics["median"] == pytest.approx(0.9)
    assert statistics["n"] == 3
    low, high = statistics["ci95"]
    assert 0.5 <= low < 0.8 < high <= 1.0


def test_undefined_scores_are_left_out_and_n_says_so() -> None:
    statistics = summary_of([scored("a", hd95_mm=3.0), scored("b", hd95_mm=None)])["labels"]["heart"]["hd95_mm"]
    assert statistics == {"mean": 3.0, "std": None, "median": 3.0, "ci95": None, "n": 1}


def test_a_metric_without_a_defined_score_is_null() -> None:
    summary = summary_of([scored("a")])
    assert summary["labels"]["heart"]["asd_mm"] == {"mean": None, "std": None, "median": None, "ci95": None, "n": 0}
    assert summary["mean_dice"] is None


def test_the_mean_dice_is_the_mean_over_labels_of_the_mean_over_cases() -> None:
    heart = [scored("a", dice=0.4), scored("b", dice=0.8)]
    lung = [scored("a", "lung", dice=1.0), scored("b", "lung", dice=None)]
    empty = [scored(case, "liver", dice=None) for case in "ab"]
    assert summary_of([*heart, *lung, *empty], ("heart", "lung", "liver"))["mean_dice"] == pytest.approx(0.8)


def test_the_summary_counts_cases_and_what_was_left_out() -> None:
    scores = [scored("a"), scored("a", "lung"), scored("b"), scored("b", "lung")]
    summary = summary_of(scores, ("heart", "lung"), excluded_training_cases=5, failed=[FailedCase("c", "no mask")])
    assert (summary["cases"], summary["excluded_training_cases"]) == (2, 5)
    assert summary["failed_cases"] == [{"case": "c", "reason": "no mask"}]
    assert summary["nsd_tolerance_mm"] == 1.0


def test_the_summary_counts_empty_masks_by_label_and_states_the_rule() -> None:
    scores = [
        scored("a", reference_ml=0.0, predicted_ml=0.0),
        scored("b", reference_ml=0.0),
        scored("c", predicted_ml=0.0),
        scored("d"),
        scored("a", "lung", reference_ml=0.0, predicted_ml=0.0),
    ]
    empty = summary_of(scores, ("heart", "lung"))["empty_masks"]
    assert empty["both_empty"] == {"heart": 1, "lung": 1}
    assert empty["one_empty"] == {"heart": 2, "lung": 0}
    assert "absent from both masks" in empty["rule"]


def test_a_missed_label_lowers_the_mean_dice_and_leaves_the_distances_alone() -> None:
    found = score_case("a", row_of(1, 1), row_of(1, 1), AFFINE, {"heart": 1}, CONFIG)
    missed = score_case("b", row_of(0, 0), row_of(1, 1), AFFINE, {"heart": 1}, CONFIG)
    absent = score_case("c", row_of(0, 0), row_of(0, 0), AFFINE, {"heart": 1}, CONFIG)
    summary = summary_of([*found, *missed, *absent])
    metrics = summary["labels"]["heart"]
    assert (summary["mean_dice"], metrics["dice"]["n"]) == (0.5, 2)
    assert (metrics["hd95_mm"]["mean"], metrics["hd95_mm"]["n"]) == (0.0, 1)
    assert (summary["empty_masks"]["both_empty"], summary["empty_masks"]["one_empty"]) == ({"heart": 1}, {"heart": 1})


# Files -------------------------------------------------------------------------------------------------------------


def test_metrics_json_holds_the_summary_and_no_nan(tmp_path: Path) -> None:
    scores = score_case("a", row_of(0, 0), row_of(1, 1), AFFINE, LABELS, CONFIG)
    summary = summary_of(scores, ("heart", "lung"))
    write_evaluation(tmp_path / "new" / "out", scores, summary, {"split": "test"})
    text = (tmp_path / "new" / "out" / "metrics.json").read_text()
    content = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert content == {**summary, "provenance": {"split": "test"}}


def test_cases_csv_has_a_row_for_every_case_and_label_failed_ones_included(tmp_path: Path) -> None:
    scores = score_case("a", row_of(1, 0), row_of(1, 0), AFFINE, LABELS, CONFIG)
    summary = summary_of(scores, ("heart", "lung"), failed=[FailedCase("b", "Expected a mask; found none.")])
    write_evaluation(tmp_path, scores, summary, {})
    with (tmp_path / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["case"], row["label"], row["status"]) for row in rows] == [
        ("a", "heart", "ok"),
        ("a", "lung", "ok"),
        ("b", "heart", "failed"),
        ("b", "lung", "failed"),
    ]
    assert (rows[0]["dice"], rows[0]["reference_ml"], rows[1]["dice"], rows[2]["dice"]) == ("1.0", "0.002", "", "")
    assert (rows[0]["reason"], rows[2]["reason"]) == ("", "Expected a mask; found none.")


def test_report_html_shows_the_cases(tmp_path: Path) -> None:
    scores = score_case("a<b>", row_of(1, 0), row_of(1, 0), AFFINE, LABELS, CONFIG)
    write_evaluation(tmp_path, scores, summary_of(scores, ("heart", "lung")), {})
    assert "a&lt;b&gt;" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_nothing_but_the_three_files_is_written(tmp_path: Path) -> None:
    write_evaluation(tmp_path, [], summary_of([]), {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cases.csv", "metrics.json", "report.html"]


# Folders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{}.nii.gz", "{}.nii", "{}/mask.nii.gz", "{}/mask.nii"])
def test_two_folders_are_matched_by_case(tmp_path: Path, name: str) -> None:
    for case, mask in {"a.1": row_of(1, 0), "b": row_of(1, 1)}.items():
        save(tmp_path / "predictions" / name.format(case), mask)
        save(tmp_path / "references" / f"{case}.nii.gz", row_of(1, 1))
    scores, failures = score_folders(tmp_path / "predictions", tmp_path / "references", {"heart": 1}, CONFIG)
    assert [(score.case, score.dice) for score in scores] == [("a.1", pytest.approx(2 / 3)), ("b", 1.0)]
    assert failures == []


def test_spacing_is_taken_from_the_masks(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(1, 0, 0), np.diag([1.0, 1.0, 4.0, 1.0]))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 0, 1), np.diag([1.0, 1.0, 4.0, 1.0]))
    scores, _ = score_folders(tmp_path / "p", tmp_path / "r", {"heart": 1}, CONFIG)
    assert scores[0].hd95_mm == pytest.approx(8.0)


def test_labels_are_found_in_references_and_in_their_predictions(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 3, 9))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 3, 0))
    save(tmp_path / "r" / "b.nii.gz", row_of(0, 200, 1))
    save(tmp_path / "p" / "of-no-reference.nii.gz", row_of(0, 77, 0))
    expected = {"label_1": 1, "label_3": 3, "label_9": 9, "label_200": 200}
    assert labels_in(tmp_path / "p", tmp_path / "r") == expected


def test_a_structure_that_the_predictions_alone_hold_scores_0(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 3, 9))
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 3, 0))
    labels = labels_in(tmp_path / "p", tmp_path / "r")
    scores, _ = score_folders(tmp_path / "p", tmp_path / "r", labels, CONFIG)
    assert [(score.label, score.dice) for score in scores] == [("label_3", 1.0), ("label_9", 0.0)]


def test_an_unreadable_reference_does_not_keep_labels_from_being_found(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "r" / "a.nii.gz", row_of(0, 3))
    save(tmp_path / "p" / "a.nii.gz", row_of(0, 0))
    (tmp_path / "r" / "b.nii.gz").write_bytes(b"no image")
    with caplog.at_level(logging.WARNING):
        assert labels_in(tmp_path / "p", tmp_path / "r") == {"label_3": 3}
    assert "No labels are taken from b.nii.gz" in caplog.text


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and references of a case "good" that agree; the tests add a case that cannot be scored."""
    save(tmp_path / "p" / "good.nii.gz", row_of(1, 1))
    save(tmp_path / "r" / "good.nii.gz", row_of(1, 1))
    return tmp_path / "p", tmp_path / "r"


def only_failure(folders: tuple[Path, Path]) -> FailedCase:
    """The one failure among the folders' cases, after checking that the good case was scored."""
    scores, failures = score_folders(*folders, {"heart": 1}, CONFIG)
    assert [(score.case, score.dice) for score in scores] == [("good", 1.0)]
    (failure,) = failures
    return failure


def test_a_reference_without_a_prediction_is_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    failure = only_failure(folders)
    assert failure.case == "bad"
    assert failure.reason.startswith("Expected one prediction of the case; found none.")


def test_a_case_folder_without_a_mask_is_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "bad" / "other.nii.gz", row_of(1, 1))
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert only_failure(folders).reason.startswith("Expected one prediction of the case; found none.")


def test_two_predictions_of_a_case_are_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "bad.nii.gz", row_of(1, 1))
    save(folders[0] / "bad" / "mask.nii.gz", row_of(1, 1))
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert "found bad.nii.gz and mask.nii.gz" in only_failure(folders).reason


def test_masks_of_different_shapes_are_a_failed_case(folders: tuple[Path, Path]) -> None:
    save(folders[0] / "bad.nii.gz", row_of(1, 1, 1))
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert "found shape 3 x 3 x 3 against 3 x 3 x 2. Resample it" in only_failure(folders).reason


def test_masks_at_different_places_are_a_failed_case(folders: tuple[Path, Path]) -> None:
    moved = AFFINE.copy()
    moved[2, 3] = 7.0
    save(folders[0] / "bad.nii.gz", row_of(1, 1), moved)
    save(folders[1] / "bad.nii.gz", row_of(1, 1))
    assert "found positions up to 7 mm apart" in only_failure(folders).reason


@pytest.mark.parametrize(("which", "kind"), [(0, "prediction"), (1, "reference")])
def test_an_unreadable_mask_is_a_failed_case_that_says_which_mask(
    folders: tuple[Path, Path], which: int, kind: str
) -> None:
    for folder in folders:
        save(folder / "bad.nii.gz", row_of(1, 1))
    (folders[which] / "bad.nii.gz").write_bytes(gzip.compress(b"too short"))
    assert f"as the {kind}" in only_failure(folders).reason


def test_a_prediction_without_a_reference_is_left_out_with_a_warning(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    save(folders[0] / "extra.nii.gz", row_of(1, 1))
    with caplog.at_level(logging.WARNING):
        scores, failures = score_folders(*folders, {"heart": 1}, CONFIG)
    assert ([score.case for score in scores], failures) == (["good"], [])
    assert "1 of 2 predictions have no reference" in caplog.text


def test_hidden_files_are_no_cases(folders: tuple[Path, Path]) -> None:
    (folders[1] / "._good.nii.gz").write_bytes(b"what macOS leaves beside a file")
    scores, failures = score_folders(*folders, {"heart": 1}, CONFIG)
    assert ([score.case for score in scores], failures) == (["good"], [])


def test_folders_without_a_common_case_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "p" / "a_0000.nii.gz", row_of(1))
    for case in "abcd":
        save(tmp_path / "r" / f"{case}.nii.gz", row_of(1))
    with pytest.raises(DatasetError, match=r"found 1 mask \(a_0000\) in .*p, 4 masks \(a, b, c, d\) in .*r\. Name"):
        score_folders(tmp_path / "p", tmp_path / "r", {"heart": 1}, CONFIG)


def test_a_folder_without_masks_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match=r"found no NIfTI masks in .*empty"):
        score_folders(tmp_path / "empty", folders[1], {"heart": 1}, CONFIG)


def test_a_folder_that_does_not_exist_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"found .*nowhere, which is none\. Check the path"):
        score_folders(tmp_path / "nowhere", folders[1], {"heart": 1}, CONFIG)


def test_masks_without_any_structure_have_no_labels(tmp_path: Path) -> None:
    for folder in ("p", "r"):
        save(tmp_path / folder / "a.nii.gz", row_of(0, 0))
    with pytest.raises(DatasetError, match="found no value above 0 in any mask"):
        labels_in(tmp_path / "p", tmp_path / "r")
