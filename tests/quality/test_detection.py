import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from pipeline.quality.detection import auprc, aurc, auroc, false_alarm_rate, risk_coverage

OWN, FOREIGN = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 5.0])
SCORES = st.lists(st.integers(0, 20).map(float), min_size=1, max_size=30).map(np.array)


def test_the_area_is_the_share_of_pairs_in_which_the_foreign_scan_is_higher() -> None:
    assert auroc(OWN, FOREIGN) == (1.5 + 4) / 8  # 2 is above 1 and level with 2; 5 is above all


def test_the_average_precision_is_the_one_worked_out_by_hand() -> None:
    # 5 is found first, with precision 1; 2 with 4, 3, and its tie: of the 5 highest, 2 are foreign
    assert auprc(OWN, FOREIGN) == pytest.approx((1 + 2 / 5) / 2)


@given(SCORES, SCORES)
@settings(deadline=None, derandomize=True, max_examples=50)
def test_turning_the_scores_over_turns_the_area_over(own: np.ndarray, foreign: np.ndarray) -> None:
    assert auroc(own, foreign) == pytest.approx(1 - auroc(-own, -foreign))
    assert auroc(own, foreign) == pytest.approx(np.mean(np.sign(foreign[:, None] - own) / 2 + 0.5))


@pytest.mark.parametrize(("detection", "expected"), [(0.95, 0.75), (0.5, 0.0)])
def test_false_alarms_are_counted_where_enough_foreign_scans_are_found(detection: float, expected: float) -> None:
    assert false_alarm_rate(OWN, FOREIGN, detection) == expected


@given(SCORES, SCORES, st.integers(1, 100))
@settings(deadline=None, derandomize=True, max_examples=80)
def test_the_false_alarm_rate_is_that_of_sklearns_curve(own: np.ndarray, foreign: np.ndarray, percent: int) -> None:
    false, true, _ = roc_curve(
        np.repeat([0, 1], [len(own), len(foreign)]), np.concatenate([own, foreign]), drop_intermediate=False
    )
    expected = false[true >= percent / 100 - 1e-9].min()
    assert false_alarm_rate(own, foreign, percent / 100) == pytest.approx(expected)


def test_twenty_foreign_scans_are_found_at_95_percent_when_one_is_missed() -> None:
    assert false_alarm_rate(np.array([0.5]), np.r_[0.0, np.ones(19)]) == 0


def test_the_risk_is_the_mean_loss_of_what_is_kept() -> None:
    coverage, risk = risk_coverage(np.array([0.3, 0.1, 0.2]), np.array([0.9, 0.0, 0.3]))
    assert coverage.tolist() == pytest.approx([1 / 3, 2 / 3, 1])
    assert risk.tolist() == pytest.approx([0, 0.15, 0.4])
    assert aurc(np.array([0.3, 0.1, 0.2]), np.array([0.9, 0.0, 0.3])) == pytest.approx(0.55 / 3)


def test_equal_uncertainties_have_the_mean_of_their_losses_in_any_order() -> None:
    loss = np.array([0.0, 0.4, 0.8])
    _, risk = risk_coverage(np.ones(3), loss)
    assert risk.tolist() == pytest.approx([0.4] * 3)
    assert aurc(np.ones(3), loss[::-1]) == aurc(np.ones(3), loss)


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 1)), min_size=1, max_size=30))
@settings(deadline=None, derandomize=True, max_examples=60)
def test_no_order_is_better_than_that_of_the_losses_or_worse_than_its_reverse(pairs: list[tuple[int, float]]) -> None:
    uncertainty, loss = (np.array(column, float) for column in zip(*pairs, strict=True))
    assert aurc(loss, loss) - 1e-9 <= aurc(uncertainty, loss) <= aurc(-loss, loss) + 1e-9
    assert risk_coverage(uncertainty, loss)[1][-1] == pytest.approx(loss.mean())
