from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.config.data import DataConfig, MaskConfig
from pipeline.errors import ScanError
from pipeline.preprocessing.coding import MaskCoding
from pipeline.scan import Scan

A_FILE_A_LABEL = {"images": ["{case}.png"], "masks": ["{case}_b.png", "{case}_a.png"]}
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def image(*pixels: object) -> Scan:
    """A row of pixels: numbers, or triples of them."""
    array = np.array(pixels, np.uint8).reshape(len(pixels), -1).T
    return Scan(array.reshape(len(array), len(pixels), 1, 1).copy(), np.eye(4), Path("mask.png"))


def decoded(scan: Scan, labels: dict[str, int], **settings: object) -> list[int]:
    coding = MaskCoding.of(MaskConfig.model_validate(settings), labels)
    mask: NDArray = coding.decode(scan).array
    assert mask.shape == (1, *scan.shape)
    return [int(value) for value in mask.ravel()]


def test_without_settings_values_are_labels() -> None:
    assert MaskCoding.of(MaskConfig(), {"a": 1}).is_plain


@pytest.mark.parametrize(("marked", "expected"), [("above", [0, 0, 1, 1]), ("below", [1, 1, 0, 0])])
def test_a_threshold_divides_blurred_edges(marked: str, expected: list[int]) -> None:
    assert decoded(image(0, 127, 128, 255), {}, threshold=127, marked=marked) == expected


def test_a_grey_mask_may_be_stored_as_three_equal_channels_but_has_no_colours() -> None:
    assert decoded(image((9, 9, 9), (200, 200, 200)), {}, threshold=127) == [0, 1]
    with pytest.raises(ScanError, match=r"a grey mask, as data\.mask\.threshold needs; found colours"):
        decoded(image((9, 9, 9), RED), {}, threshold=127)


def test_colours_become_the_values_of_their_labels_and_black_the_background() -> None:
    labels = {"cell": 1, "wall": 7}
    colours = {"cell": RED, "wall": GREEN}
    assert decoded(image((0, 0, 0), GREEN, RED), labels, colours=colours) == [0, 7, 1]


def test_black_can_be_a_structure_and_the_background_another_colour() -> None:
    colours = {"ink": (0, 0, 0), "background": WHITE}
    assert decoded(image((0, 0, 0), WHITE), {"ink": 1}, colours=colours) == [1, 0]
    assert decoded(image(0, 255), {"ink": 1}, colours=colours) == [1, 0]  # a grey image of the same colours


def test_a_colour_that_is_not_in_the_table_is_refused_with_its_count() -> None:
    with pytest.raises(ScanError, match=r"also \(250, 0, 0\), \(1, 2, 3\) in 3 pixels"):
        decoded(image((250, 0, 0), (1, 2, 3), (250, 0, 0), RED), {"cell": 1}, colours={"cell": RED})


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"mask": {"threshold": 1, "colours": {"a": RED}}, "labels": {"a": 1}}, "threshold and colours both say"),
        ({"mask": {"colours": {"a": RED, "b": RED}}, "labels": {"a": 1, "b": 2}}, "colours must be distinct"),
        ({"mask": {"colours": {"a": RED}}, "labels": {"b": 1}}, "must name what labels names, found \\['a'\\]"),
        ({"mask": {"threshold": 127}, "labels": {"b": 2}}, "one structure with the value 1"),
        ({"files": A_FILE_A_LABEL, "labels": {"b": 4, "a": 1}}, r"list these from the lowest, found \[4, 1\]"),
    ],
)
def test_settings_of_masks_that_do_not_go_together_are_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        DataConfig.model_validate({"root": "data", **settings})


def test_a_file_a_label_becomes_one_mask_unless_a_voxel_is_claimed_twice() -> None:
    coding = MaskCoding.of(MaskConfig(), {"axon": 3, "myelin": 5})
    merged = coding.merge([image(0, 255, 0), image(1, 0, 0)])
    assert [int(value) for value in merged.array.ravel()] == [5, 3, 0]
    with pytest.raises(ScanError, match=r"one label a voxel; found 1 voxel in mask\.png that another label has too"):
        coding.merge([image(0, 255, 0), image(0, 1, 0)])


def test_the_file_of_a_label_with_grey_edges_needs_a_threshold() -> None:
    labels = {"axon": 3, "myelin": 5}
    files = [image(0, 130, 255), image(200, 90, 0)]
    with pytest.raises(
        ScanError, match=r"one value besides 0 in the file of a label; found 2 \(130, 255\) in mask\.png"
    ):
        MaskCoding.of(MaskConfig(), labels).merge(files)
    coding = MaskCoding.of(MaskConfig(threshold=127), labels)
    assert [int(value) for value in coding.merge([coding.decode(file) for file in files]).array.ravel()] == [5, 3, 3]


@pytest.mark.parametrize("pixels", [(0, 1), (0, 100), (128, 255)])
def test_two_values_on_one_side_of_a_threshold_are_no_mask_that_it_divides(pixels: tuple[int, int]) -> None:
    with pytest.raises(ScanError, match=r"a grey mask that 127 divides .*; found the two values \d+ and \d+"):
        decoded(image(*pixels), {}, threshold=127)


@pytest.mark.parametrize("pixels", [(0, 0), (255, 255), (0, 3, 7), (0, 255)])
def test_masks_of_nothing_of_everything_and_with_noise_are_divided(pixels: tuple[int, ...]) -> None:
    assert decoded(image(*pixels), {}, threshold=127) == [int(pixel > 127) for pixel in pixels]


def test_colours_name_the_labels_of_one_file() -> None:
    with pytest.raises(ValueError, match=r"mask\.colours names the labels of one file"):
        DataConfig.model_validate(
            {
                "root": ".",
                "labels": {"a": 1, "b": 2},
                "mask": {"colours": {"a": RED, "b": GREEN}},
                "files": {"images": ["{case}.png"], "masks": ["{case}_g.png", "{case}_r.png"]},
            }
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"marked": "below"}, "marked says which side of a threshold"),
        ({"colours": {"a": (300000, 0, 0)}}, "colours are levels from 0 to 255"),
        ({"colours": {"a": (-1, 0, 0)}}, "colours are levels from 0 to 255"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MaskConfig.model_validate(settings)
