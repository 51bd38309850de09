from pathlib import Path

import pytest

from pipeline.layouts.affixes import without_affixes


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["21_training", "22_training"], ["21", "22"]),
        (["21_manual1", "30_manual1"], ["21", "30"]),
        (["case_10", "case_11"], ["10", "11"]),  # not 0 and 1
        (["s1x7", "s2x7"], ["1", "2"]),
        (["a7", "b17"], ["a7", "b17"]),  # the 7 belongs to 17
        (["image", "image_2"], ["image", "image_2"]),  # nothing would be left of the first
        (["alone"], ["alone"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_names_are_told_apart_by_what_differs(names: list[str], expected: list[str]) -> None:
    assert list(without_affixes({name: Path(name) for name in names})) == expected
