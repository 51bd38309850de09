"""Membranes divide cells: their instances are the parts between them."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.evaluation import EvaluationConfig
from pipeline.evaluation.scores import CaseScore, score_case, within
from pipeline.scan import Scan

CONFIG = EvaluationConfig(instances=True, per_slice=True, walls=("membrane",), bootstrap_samples=100)


def grid(*rows: str) -> NDArray[np.uint8]:
    """A picture with a wall where there is a #."""
    return np.array([[character == "#" for character in row] for row in rows], np.uint8)[..., None]


TWO_CELLS = grid("..#..", "..#..", "..#..")


def score(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8] = TWO_CELLS, view: NDArray[np.bool_] | None = None
) -> CaseScore:
    reference = Scan(truth[None], np.eye(4), Path("a.png"), "px")
    (found,) = score_case("a", *within(view, prediction, reference), labels={"membrane": 1}, config=CONFIG)
    return found


def test_a_wall_in_its_place_divides_as_the_reference_does() -> None:
    found = score(TWO_CELLS)
    assert (found.rand_f, found.instances_matched, found.instances_missed, found.instances_extra) == (1.0, 2, 0, 0)


def test_a_hole_in_a_wall_merges_two_cells() -> None:
    found = score(grid("..#..", ".....", "..#.."))
    # Of the 12 pixels in cells: 2 x 15 pairs in one cell of the reference, all among the 66 pairs of the merged one.
    assert found.rand_recall == 1.0
    assert found.rand_precision == pytest.approx(30 / 66)
    assert (found.instances_matched, found.instances_missed, found.instances_extra) == (0, 2, 1)
    assert found.dice == pytest.approx(4 / 5)  # of the membrane itself


def test_a_thick_wall_merges_nothing() -> None:
    found = score(grid(".###.", ".###.", ".###."))
    assert found.rand_precision == 1.0
    assert found.rand_recall == pytest.approx(6 / 30)


def test_what_lies_far_from_every_wall_counts_too() -> None:
    wide = np.zeros((3, 40, 1), np.uint8)
    wide[:, 20] = 1
    found = score(np.zeros_like(wide), wide)
    cell, other, whole = (n * (n - 1) / 2 for n in (60, 57, 117))
    assert found.rand_precision == pytest.approx((cell + other) / whole)


def test_what_is_outside_the_field_of_view_joins_no_cells() -> None:
    view = np.ones(TWO_CELLS.shape, bool)
    view[2] = False
    found = score(grid("..#..", "..#..", "....."), view=view)
    assert (found.rand_f, found.instances_matched, found.dice) == (1.0, 2, 1.0)


def test_without_a_wall_in_either_there_is_nothing_to_score() -> None:
    nothing = np.zeros_like(TWO_CELLS)
    found = score(nothing, nothing)
    assert (found.rand_f, found.instances_matched) == (None, None)


def test_walls_without_instances_would_do_nothing() -> None:
    with pytest.raises(ValueError, match="walls divide instances, which are scored with instances: true"):
        EvaluationConfig(walls=("membrane",))
