import io
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import DatasetError, ScanError
from pipeline.evaluation.examples import CaseMasks, Example, choose_examples, draw_examples, mean_dice_by_case
from pipeline.scan import Scan
from tests.evaluation.masks import AFFINE, row_of, scored


def test_a_case_is_judged_by_the_mean_over_the_labels_that_it_is_scored_for() -> None:
    scores = [
        scored("a", "heart", dice=0.5),
        scored("a", "lung", dice=1.0),
        scored("b", "heart", dice=0.25),
        scored("b", "lung"),
        scored("c", "heart"),
    ]
    assert mean_dice_by_case(scores) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize(
    ("dice", "expected"),
    [
        ({}, []),
        ({"a": None}, []),
        ({"a": 0.5}, [("best", "a")]),
        ({"a": 0.5, "b": 0.9}, [("best", "b"), ("worst", "a")]),
        ({"a": 0.5, "b": 0.9, "c": 0.7}, [("best", "b"), ("median", "c"), ("worst", "a")]),
        ({"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}, [("best", "a"), ("median", "c"), ("worst", "d")]),
        ({"c": 0.5, "a": 0.5, "b": 0.5}, [("best", "a"), ("median", "b"), ("worst", "c")]),
    ],
    ids=["none", "undefined", "one", "two", "three", "four", "equal"],
)
def test_the_best_the_median_and_the_worst_case_are_chosen(
    dice: dict[str, float | None], expected: list[tuple[str, str]]
) -> None:
    examples = choose_examples([scored(case, dice=value) for case, value in dice.items()])
    assert [(example.role, example.case) for example in examples] == expected


def test_a_picture_that_cannot_be_drawn_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    reference = Scan(row_of(1, 1)[None], AFFINE.copy(), Path("reference.nii.gz"))
    masks: list[CaseMasks | Exception] = [
        ScanError("a mask", "none", "Draw it."),
        CaseMasks(np.zeros((9, 9, 9), np.uint8), reference, None),  # another shape than the reference's
        CaseMasks(row_of(1, 0), reference, None),
    ]
    examples = [Example("best", "a", 0.9), Example("median", "b", 0.5), Example("worst", "c", 0.1)]
    with caplog.at_level(logging.WARNING):
        overlays = list(draw_examples(examples, masks, {"heart": 1}))
    assert [(overlay.role, overlay.case, overlay.dice) for overlay in overlays] == [
        ("best", "a", 0.9),
        ("median", "b", 0.5),
        ("worst", "c", 0.1),
    ]
    assert [overlay.png is None for overlay in overlays] == [True, True, False]
    assert Image.open(io.BytesIO(overlays[2].png or b"")).format == "PNG"
    assert overlays[0].problem == "Expected a mask; found none. Draw it."
    assert "No picture of case a: Expected a mask; found none." in caplog.text
    assert "No picture of case b: " in caplog.text


def test_an_error_that_ends_the_reading_costs_the_pictures_that_were_left(caplog: pytest.LogCaptureFixture) -> None:
    def interrupted() -> Iterator[CaseMasks | Exception]:
        yield CaseMasks(row_of(1, 0), Scan(row_of(1, 1)[None], AFFINE.copy(), Path("reference.nii.gz")), None)
        raise DatasetError("a folder of masks", "none any more", "Put it back.")

    examples = [Example("best", "a", 0.9), Example("median", "b", 0.5), Example("worst", "c", 0.1)]
    overlays = list(draw_examples(examples, interrupted(), {"heart": 1}))
    expected = "Expected a folder of masks; found none any more. Put it back."
    assert [overlay.problem for overlay in overlays] == ["", expected, expected]
    assert f"No picture of case c: {expected}" in caplog.text
