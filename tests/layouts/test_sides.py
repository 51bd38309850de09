import pytest

from pipeline.layouts.sides import pairs_by_side


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left", "right"),
        ("left_kidney", "right_kidney"),
        ("Left Kidney", "right kidney"),
        ("LeftKidney", "RightKidney"),
        ("kidneyleft", "kidneyright"),
        ("kidney-left", "kidney-right"),
        ("lung_left_upper", "lung_right_upper"),
        ("l_hand", "r_hand"),
        ("Kidney L", "Kidney R"),
        ("ctx-lh-insula", "ctx-rh-insula"),
        ("L", "R"),
        ("hand.l.1", "hand.r.1"),
    ],
)
def test_names_that_differ_by_side_alone_are_a_pair(left: str, right: str) -> None:
    assert pairs_by_side(["liver", right, left]) == [(left, right)]


@pytest.mark.parametrize(
    "names",
    [
        ["anterior", "posterior"],
        ["left atrium", "aorta"],  # one side alone
        ["left kidney", "right lung"],
        ["cell", "cerr"],  # letters inside words
        ["lh1", "rh1"],
        ["left_1", "right_2"],
    ],
)
def test_other_names_are_none(names: list[str]) -> None:
    assert pairs_by_side(names) == []


def test_every_pair_is_found() -> None:
    names = ["right_kidney", "lung_r", "left_kidney", "lung_l", "spleen"]
    assert pairs_by_side(names) == [("left_kidney", "right_kidney"), ("lung_l", "lung_r")]
