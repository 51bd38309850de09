"""Instances and centre lines: scored where they are asked for, and then in every file; else nowhere."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import WatershedConfig
from pipeline.evaluation.comparison import Comparison, compare_evaluations
from pipeline.evaluation.comparison_record import comparison_content, write_comparison
from pipeline.evaluation.metric_names import (
    CENTRELINE_METRICS,
    INSTANCE_METRICS,
    METRICS,
    OPTIONAL_METRICS,
    metrics_of,
    name_in,
)
from pipeline.evaluation.record import write_evaluation
from pipeline.evaluation.scores import CaseScore, score_case
from pipeline.evaluation.statistics import summarise
from pipeline.evaluation.stored import read_evaluation
from pipeline.evaluation.verdict import sentences_of
from pipeline.metrics.centreline import CentrelineOverlap
from pipeline.metrics.instances import (
    InstanceMatches,
    RandPairs,
    VariationOfInformation,
    instances_of,
    predicted_instances,
)
from pipeline.scan import Scan
from tests.evaluation.masks import row_of

IN_MM = [name_in("mm", metric) for metric in METRICS]
OFF = EvaluationConfig(bootstrap_samples=100)
ALL = EvaluationConfig(bootstrap_samples=100, instances=True, centreline=True)
CELLS = {"cells": 1}
AFFINE = np.eye(4)
Mask = NDArray[np.uint8]


def score_of(
    prediction: Mask, reference: Mask, config: EvaluationConfig = ALL, watershed: WatershedConfig | None = None
) -> CaseScore:
    truth = Scan(reference[None], AFFINE, Path("reference.nii.gz"))
    (score,) = score_case("a", prediction, truth, labels=CELLS, config=config, watershed=watershed)
    return score


def optional(score: CaseScore) -> dict[str, float | None]:
    return {metric: getattr(score, metric) for metric in OPTIONAL_METRICS}


# --- Scores


def test_two_cells_that_are_merged_are_scored_by_hand() -> None:
    # two cells of two voxels, and one over both: 2 pairs of 6 are right, two cells of one size are a bit of merge, and
    # neither is more than half of what was found; each row is its own centre line, 4 of 5 voxels in the reference
    score = score_of(row_of(1, 1, 1, 1, 1), row_of(1, 1, 0, 1, 1))
    assert (score.rand_precision, score.rand_recall, score.rand_f) == pytest.approx((2 / 6, 1, 4 / 8))
    assert (score.vi_split, score.vi_merge) == (0, 1)
    assert (score.instances_matched, score.instances_missed, score.instances_extra) == (0, 2, 1)
    assert score.instance_f1 == 0
    assert score.cl_dice == pytest.approx(2 * (4 / 5) * 1 / (4 / 5 + 1))


def test_each_label_has_its_own_instances() -> None:
    truth = Scan(row_of(1, 1, 2, 2, 2)[None], AFFINE, Path("reference.nii.gz"))
    scores = score_case("a", row_of(1, 1, 0, 2, 2), truth, labels={"x": 1, "y": 2}, config=ALL)
    assert [(score.instances_matched, score.rand_recall) for score in scores] == [(1, 1.0), (1, pytest.approx(1 / 3))]


def test_nothing_is_computed_that_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("computed, though it is off")

    for name in ("instances_of", "predicted_instances", "RandPairs.of", "InstanceMatches.of", "CentrelineOverlap.of"):
        monkeypatch.setattr(f"pipeline.evaluation.scores.{name}", refuse)
    watershed = WatershedConfig(labels=("cells",))
    score = score_of(row_of(1, 1, 1), row_of(0, 1, 1), OFF, watershed)
    assert optional(score) == dict.fromkeys(OPTIONAL_METRICS)
    assert score.dice == pytest.approx(4 / 5)


@pytest.mark.parametrize(
    ("switches", "metrics"),
    [
        ({}, METRICS),
        ({"instances": True}, (*METRICS, *INSTANCE_METRICS)),
        ({"centreline": True}, (*METRICS, *CENTRELINE_METRICS)),
        ({"instances": True, "centreline": True}, (*METRICS, *INSTANCE_METRICS, *CENTRELINE_METRICS)),
    ],
)
def test_each_switch_adds_its_metrics(switches: dict[str, bool], metrics: tuple[str, ...]) -> None:
    config = EvaluationConfig.model_validate(switches)
    assert metrics_of(config) == metrics
    score = score_of(row_of(1, 1, 1), row_of(0, 1, 1), config)
    assert {metric for metric in OPTIONAL_METRICS if getattr(score, metric) is not None} == set(metrics) - set(METRICS)


def test_a_label_absent_from_both_masks_has_no_score() -> None:
    assert optional(score_of(row_of(0, 0), row_of(0, 0))) == dict.fromkeys(OPTIONAL_METRICS)


def test_a_label_that_is_only_predicted_has_instances_too_many_and_no_rand_score() -> None:
    made_up = score_of(row_of(1, 1), row_of(0, 0))
    assert (made_up.rand_f, made_up.rand_precision, made_up.rand_recall) == (None, None, None)
    assert (made_up.vi_split, made_up.vi_merge) == (None, None)
    assert (made_up.instance_f1, made_up.instances_missed, made_up.instances_extra) == (0, 0, 1)
    assert made_up.cl_dice == 0


def test_a_label_that_was_missed_scores_0() -> None:
    missed = score_of(row_of(0, 0), row_of(1, 1))
    assert (missed.rand_f, missed.rand_precision, missed.rand_recall) == (0, None, 0)
    assert (missed.vi_split, missed.vi_merge) == (None, None)
    assert (missed.instance_f1, missed.instances_missed, missed.instances_extra) == (0, 1, 0)
    assert missed.cl_dice == 0


@pytest.mark.parametrize("per_slice", [False, True])
def test_looking_at_the_region_of_a_label_alone_changes_nothing(per_slice: bool) -> None:
    generator = np.random.default_rng(0)
    prediction, reference = (generator.random((2, 12, 11, 9)) < 0.3).astype(np.uint8)
    prediction[:, :4], reference[8:] = 0, 0
    score = score_of(prediction, reference, ALL.model_copy(update={"per_slice": per_slice}))
    ours, theirs = (instances_of(mask > 0, per_slice=per_slice) for mask in (prediction, reference))
    assert score.rand_f == RandPairs.of(ours, theirs).f
    assert score.instance_f1 == InstanceMatches.of(ours, theirs).f1
    information = VariationOfInformation.of(ours, theirs)
    assert information is not None
    assert (score.vi_split, score.vi_merge) == pytest.approx((information.split, information.merge))
    assert score.cl_dice == CentrelineOverlap.of(prediction > 0, reference > 0, per_slice=per_slice).dice


def test_slices_of_a_stack_are_images_of_their_own() -> None:
    # a cell in each of two images, at one place: in a volume it is one cell
    mask = row_of(1, 1)
    for per_slice, cells in ((False, 1), (True, 2)):
        score = score_of(mask, mask, ALL.model_copy(update={"per_slice": per_slice}))
        assert score.instances_matched == cells


def discs(gap: bool) -> Mask:
    """Two discs of radius 6 that overlap, in an image of 16 x 25 x 1; with a gap of a pixel between them or not."""
    rows, columns = np.indices((16, 25))
    mask = np.any([(rows - 7) ** 2 + (columns - middle) ** 2 <= 36 for middle in (7, 17)], axis=0)
    if gap:
        mask[:, 12] = False
    return mask[:, :, None].astype(np.uint8)


def test_the_watershed_divides_what_was_predicted_and_not_the_reference() -> None:
    watershed = WatershedConfig(labels=("cells",), peak_distance_mm=4)
    touching, apart = discs(gap=False), discs(gap=True)
    merged, found = (score_of(touching, apart, ALL, each) for each in (None, watershed))
    assert (merged.instances_matched, merged.instances_missed, merged.instances_extra) == (0, 2, 1)
    assert (found.instances_matched, found.instances_missed, found.instances_extra) == (2, 0, 0)
    assert found.dice == merged.dice
    # the reference's two discs are one instance; the half that has the column between them is just above half of it
    reference_touches = score_of(touching, touching, ALL, watershed)
    assert (reference_touches.instances_matched, reference_touches.instances_extra) == (1, 1)


def test_the_watershed_is_for_the_labels_that_it_names() -> None:
    other = WatershedConfig(labels=("nuclei",), peak_distance_mm=4)
    assert score_of(discs(gap=False), discs(gap=True), ALL, other).instances_matched == 0


def test_the_watershed_takes_its_distances_in_mm() -> None:
    watershed = WatershedConfig(labels=("cells",), peak_distance_mm=15)  # the middles are 10 pixels apart
    mask = discs(gap=False) > 0
    for spacing_mm, cells in ((1.0, 1), (2.0, 2)):
        affine = np.diag([spacing_mm, spacing_mm, 1.0, 1.0])
        assert predicted_instances(mask, watershed, affine=affine, per_slice=True).max() == cells


# --- Files


def write(folder: Path, config: EvaluationConfig, predictions: Mapping[str, Mask], reference: Mask) -> None:
    truth = Scan(reference[None], AFFINE, Path("reference.nii.gz"))
    scores = [
        score
        for case, mask in predictions.items()
        for score in score_case(case, mask, truth, labels=CELLS, config=config)
    ]
    summary = summarise(scores, CELLS, config, excluded_training_cases=0, failed=[])
    write_evaluation(folder, scores, summary=summary, provenance={"cases_digest": "same"})


REFERENCE = row_of(1, 1, 0, 1, 1)
MERGED = dict.fromkeys("abcdefgh", row_of(1, 1, 1, 1, 1))
RIGHT = dict.fromkeys("abcdefgh", REFERENCE)


def header(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as stream:
        return next(csv.reader(stream))


def test_where_they_are_off_no_file_knows_of_them(tmp_path: Path) -> None:
    write(tmp_path, OFF, MERGED, REFERENCE)
    columns = ["case", "label", *IN_MM, "reference_ml", "predicted_ml", "status", "reason"]
    assert header(tmp_path / "cases.csv") == columns
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content["labels"]["cells"]) == IN_MM
    assert "per_slice" not in content
    assert "clDice" not in content["empty_masks"]["rule"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not [title for title in ("Rand", "Instance", "clDice", "VI split") if title in page]
    assert len(list((tmp_path / "figures").iterdir())) == 2 * len(METRICS)


def test_where_they_are_on_every_file_has_them(tmp_path: Path) -> None:
    write(tmp_path, ALL, MERGED, REFERENCE)
    columns = ["case", "label", *IN_MM, "reference_ml", "predicted_ml", *OPTIONAL_METRICS, "status", "reason"]
    assert header(tmp_path / "cases.csv") == columns
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert list(content["labels"]["cells"]) == [*IN_MM, *OPTIONAL_METRICS]
    assert content["labels"]["cells"]["rand_f"]["mean"] == 0.5
    assert content["labels"]["cells"]["instances_missed"]["mean"] == 2
    assert content["per_slice"] is False
    assert "Instance F1 and clDice are 0" in content["empty_masks"]["rule"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for title in ("Rand F", "VI split (bits)", "Instance F1", "Instances missed", "clDice"):
        assert f"{title} by label" in page
        assert f">{title}</th>" in page
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {f"{metric}.{ending}" for metric in (*IN_MM, *OPTIONAL_METRICS) for ending in ("svg", "pdf")}


def test_figures_of_an_earlier_evaluation_that_had_them_go(tmp_path: Path) -> None:
    write(tmp_path, ALL, MERGED, REFERENCE)
    write(tmp_path, OFF, MERGED, REFERENCE)
    assert not (tmp_path / "figures" / "rand_f.svg").exists()


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "all", ALL, MERGED, REFERENCE)
    write(tmp_path / "off", OFF, MERGED, REFERENCE)
    read = read_evaluation(tmp_path / "all", "all")
    assert read.optional_metrics == OPTIONAL_METRICS
    assert read.scores["a", "cells"]["instances_missed"] == 2
    assert read_evaluation(tmp_path / "off", "off").optional_metrics == ()


# --- Comparison


def compared(
    folder: Path, baseline: EvaluationConfig, other: EvaluationConfig, *, better: Mapping[str, Mask] = RIGHT
) -> Comparison:
    write(folder / "old", baseline, MERGED, REFERENCE)
    write(folder / "new", other, better, REFERENCE)
    files = [read_evaluation(folder / name, name) for name in ("old", "new")]
    (pair,) = compare_evaluations(files[0], files[1:], OFF)
    return pair


def test_what_both_have_is_compared_and_drawn(tmp_path: Path) -> None:
    pair = compared(tmp_path, ALL, ALL)
    metrics = pair.labels["cells"]
    assert (metrics["rand_f"].mean_difference, metrics["rand_f"].wins) == (0.5, 8)
    assert (metrics["vi_merge"].mean_difference, metrics["vi_merge"].wins) == (-1, 8)
    assert (metrics["instances_missed"].mean_difference, metrics["instances_missed"].wins) == (-2, 8)
    assert metrics["cl_dice"].wins == 8
    write_comparison(tmp_path / "out", [pair], comparison_content([pair], {}))
    columns = header(tmp_path / "out" / "comparison.csv")
    assert {"rand_f_baseline", "instance_f1_other", "cl_dice_difference"} <= set(columns)
    figures = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    drawn = ("dice", "hd95_mm", "nsd", "rand_f", "instance_f1", "cl_dice")
    assert figures == {f"difference_1_{metric}" for metric in drawn}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Higher is better for Rand F, instance F1 and clDice, too." in page


def test_where_neither_has_them_a_comparison_knows_nothing_of_them(tmp_path: Path) -> None:
    pair = compared(tmp_path, OFF, OFF)
    assert not set(OPTIONAL_METRICS) & set(pair.labels["cells"])
    assert not pair.notes
    write_comparison(tmp_path / "out", [pair], comparison_content([pair], {}))
    assert not [name for name in header(tmp_path / "out" / "comparison.csv") if name.startswith(OPTIONAL_METRICS)]
    assert "Rand F" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_what_one_alone_has_is_not_compared_and_this_is_said(tmp_path: Path) -> None:
    pair = compared(tmp_path, ALL.model_copy(update={"centreline": False}), OFF)
    assert not set(OPTIONAL_METRICS) & set(pair.labels["cells"])
    assert sentences_of(pair, 1)[-1] == (
        "Rand F, VI split (bits), VI merge (bits), Instance F1, Instances missed, Instances extra: not compared, "
        "because old alone has them."
    )


def test_cells_of_slices_are_not_compared_with_those_of_volumes(tmp_path: Path) -> None:
    pair = compared(tmp_path, ALL, ALL.model_copy(update={"per_slice": True}))
    assert not set(OPTIONAL_METRICS) & set(pair.labels["cells"])
    assert sentences_of(pair, 1)[-1].endswith(
        "clDice: not compared, because new takes each slice by itself, and old the volume as a whole."
    )


def test_cells_between_walls_are_not_compared_with_pieces_of_walls(tmp_path: Path) -> None:
    pair = compared(tmp_path, ALL, ALL.model_copy(update={"walls": ("cells",)}))
    assert set(OPTIONAL_METRICS) & set(pair.labels["cells"]) == {"cl_dice"}
    assert sentences_of(pair, 1)[-1].endswith(
        "Instances extra: not compared, because their walls differ (none against cells)."
    )
