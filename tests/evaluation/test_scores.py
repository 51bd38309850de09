import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.evaluation.metric_names import METRICS
from pipeline.evaluation.scores import cases_digest, score_case, within
from pipeline.metrics import surface
from pipeline.metrics.overlap import Overlap
from pipeline.scan import Scan
from tests.evaluation.masks import CONFIG, LABELS, row_of, scores_of


def test_a_case_is_scored_label_by_label() -> None:
    # heart: two voxels in common, 3 predicted, 4 in the reference; lung: apart by one voxel of 1 mm.
    prediction = row_of(1, 1, 1, 0, 0, 0, 2, 0)
    reference = row_of(0, 1, 1, 1, 1, 0, 0, 2)
    heart, lung = scores_of("a", prediction, reference, LABELS)
    assert (heart.case, heart.label, lung.label) == ("a", "heart", "lung")
    assert (heart.dice, heart.iou) == pytest.approx((4 / 7, 2 / 5))
    assert (heart.precision, heart.recall) == pytest.approx((2 / 3, 2 / 4))
    assert (heart.predicted_size, heart.reference_size) == pytest.approx((0.006, 0.008))
    assert heart.volume_error == pytest.approx(-0.002)
    # Distances of the heart: prediction 1, 0, 0; reference 0, 0, 1, 2, whose 95th percentile is 1 + 0.85.
    assert heart.hd95 == pytest.approx(1.85)
    assert heart.asd == pytest.approx(4 / 7)
    assert heart.nsd == pytest.approx(6 / 7)
    assert (lung.dice, lung.hd95, lung.asd, lung.nsd) == (0, 1, 1, 1)


def test_voxels_outside_the_field_of_view_do_not_count() -> None:
    prediction, reference = row_of(1, 1, 0, 1), row_of(1, 0, 1, 0)
    view = np.ones(prediction.shape, bool)
    view[..., 2:] = False
    truth = Scan(reference[None], np.eye(4), Path("reference.nii"))
    (score,) = score_case("a", *within(view, prediction, truth), labels={"heart": 1}, config=CONFIG)
    assert (score.dice, score.predicted_size, score.reference_size) == pytest.approx((2 / 3, 0.002, 0.001))


def test_looking_at_the_region_of_a_label_alone_changes_nothing() -> None:
    generator = np.random.default_rng(0)
    prediction, reference = generator.integers(0, 4, size=(2, 9, 8, 7), dtype=np.uint8)
    prediction[:, :4], reference[5:] = 0, 0
    for score in scores_of("a", prediction, reference, {"x": 1, "y": 3}):
        ours, theirs = (array == {"x": 1, "y": 3}[score.label] for array in (prediction, reference))
        distances = surface.surface_distances(ours, theirs, (2.0, 1.0, 1.0))
        assert score.dice == Overlap.of(ours, theirs).dice
        assert score.asd == pytest.approx(surface.asd_mm(distances), rel=1e-12)
        assert score.hd95 == pytest.approx(surface.hd95_mm(distances), rel=1e-12)
        assert score.nsd == surface.nsd(distances, 1.0)


@pytest.mark.parametrize("index", [0, 2, 3])
def test_a_structure_in_one_slice_of_a_volume_is_all_surface(index: int) -> None:
    prediction, reference = np.zeros((2, 5, 5, 4), dtype=np.uint8)
    prediction[1:4, 1:4, index], reference[2, 2, index] = 1, 1
    (score,) = scores_of("a", prediction, reference, {"heart": 1}, affine=np.eye(4))
    # The centre of the 3 x 3 square is surface as well: 0, four times 1, four times sqrt(2), and 0 for the reference.
    assert score.asd == pytest.approx((4 + 4 * np.sqrt(2)) / 10)


def test_a_label_absent_from_both_masks_has_no_score() -> None:
    (score,) = scores_of("a", row_of(0, 2), row_of(0, 2), {"heart": 1})
    assert [getattr(score, metric) for metric in METRICS] == [None] * len(METRICS)
    assert (score.reference_size, score.predicted_size) == (0, 0)
    assert (score.both_empty, score.one_empty) == (True, False)


def test_a_label_that_is_only_predicted_scores_zero_and_has_no_distances() -> None:
    (score,) = scores_of("a", row_of(1, 1), row_of(0, 0), {"heart": 1})
    assert (score.dice, score.iou, score.nsd, score.precision) == (0, 0, 0, 0)
    assert (score.recall, score.hd95, score.asd) == (None, None, None)
    assert score.volume_error == pytest.approx(0.004)
    assert (score.both_empty, score.one_empty) == (False, True)


def test_a_label_that_was_missed_scores_zero_and_has_no_distances() -> None:
    (score,) = scores_of("a", row_of(0, 0), row_of(1, 1), {"heart": 1})
    assert (score.dice, score.iou, score.nsd, score.recall) == (0, 0, 0, 0)
    assert (score.precision, score.hd95, score.asd) == (None, None, None)
    assert score.volume_error == pytest.approx(-0.004)
    assert (score.both_empty, score.one_empty) == (False, True)


def test_the_digest_depends_on_names_and_references_and_not_on_their_order() -> None:
    digest = cases_digest({"a": "1", "b": "2"})
    assert digest == cases_digest({"b": "2", "a": "1"})
    # sha256 of [["a", "1"], ["b", "2"]]
    assert digest == hashlib.sha256(b'[["a", "1"], ["b", "2"]]').hexdigest()
    assert len({digest, cases_digest({"a": "1", "b": "3"}), cases_digest({"a": "1", "c": "2"}), cases_digest({})}) == 4
