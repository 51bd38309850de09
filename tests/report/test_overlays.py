"""Pictures of two masks, read back pixel by pixel."""

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.figures import COLOURS, round_length_mm
from pipeline.report.overlays import overlay_png
from pipeline.scan import UNITS, Scan

RAS = np.eye(4)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
LABELS = {"a": 1, "b": 2}


def picture(
    prediction: NDArray[np.uint8],
    reference: NDArray[np.uint8],
    *,
    image: NDArray | None = None,
    affine: NDArray[np.float64] = RAS,
    labels: dict[str, int] = LABELS,
) -> NDArray[np.uint8]:
    truth = Scan(reference[None], affine.copy(), Path("reference.nii.gz"))
    scan = None if image is None else Scan(image[None], affine.copy(), Path("scan.nii.gz"))
    return np.asarray(Image.open(io.BytesIO(overlay_png(prediction, truth, labels=labels, scan=scan))).convert("RGB"))


def near(pixels: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return np.abs(pixels.astype(int) - colour).max(axis=-1) < 12


@pytest.fixture
def cube() -> NDArray[np.uint8]:
    mask = np.zeros((20, 20, 20), np.uint8)
    mask[6:14, 6:14, 6:14] = 1
    return mask


def test_a_reference_that_was_not_found_has_a_line_of_its_colour_in_each_plane(cube: NDArray[np.uint8]) -> None:
    pixels = picture(np.zeros_like(cube), cube, image=np.zeros(cube.shape))
    lines = near(pixels, COLOURS[0])[: -pixels.shape[0] // 6]  # the legend is below
    thirds = np.array_split(lines, 3, axis=1)
    assert all(third.any() for third in thirds)


def test_a_prediction_is_paler_than_the_reference(cube: NDArray[np.uint8]) -> None:
    pale = tuple(round(level * 0.35 + 255 * 0.65) for level in COLOURS[0])
    assert len(pale) == 3
    assert near(picture(cube, np.zeros_like(cube), image=np.zeros(cube.shape)), pale).any()
    assert not near(picture(np.zeros_like(cube), cube, image=np.zeros(cube.shape)), pale).any()


def test_a_structure_has_one_place_in_the_picture_whatever_the_order_of_the_axes() -> None:
    reference = np.zeros((16, 16, 16), np.uint8)
    reference[2:5, 9:13, 11:15] = 1
    image = np.random.default_rng(0).normal(size=reference.shape).astype(np.float32)
    turned = (slice(None, None, -1), slice(None, None, -1))
    upright = picture(np.zeros_like(reference), reference, image=image)
    stored_otherwise = picture(np.zeros_like(reference), reference[turned], image=image[turned], affine=LPS)
    assert np.array_equal(upright, stored_otherwise)


def test_the_patients_right_is_on_the_left() -> None:
    reference = np.zeros((60, 60, 60), np.uint8)
    reference[40:44, 28:32, 28:32] = 1  # right
    reference[16:20, 28:32, 28:32] = 2  # left
    pixels = picture(np.zeros_like(reference), reference, image=np.zeros(reference.shape))
    panels = pixels[: -pixels.shape[0] // 6]
    axial = panels[:, -pixels.shape[1] // 3 :]
    right, left = (np.nonzero(near(axial, COLOURS[place]))[1].mean() for place in (0, 1))
    assert right < left


def test_without_a_scan_the_reference_is_filled(cube: NDArray[np.uint8]) -> None:
    filled = tuple(round(level * 0.35) for level in COLOURS[0])
    assert len(filled) == 3
    inside = near(picture(cube, cube), filled)
    assert inside.mean() > 0.05
    assert near(picture(cube, cube, image=np.zeros(cube.shape)), filled).mean() < 0.01


@pytest.mark.parametrize("shape", [(1, 9, 9), (9, 9, 1), (2, 3, 4)])
@pytest.mark.parametrize("value", [0, 1])
def test_masks_that_are_empty_or_fill_a_thin_volume_are_still_a_picture(shape: tuple[int, ...], value: int) -> None:
    mask = np.full(shape, value, np.uint8)
    assert picture(mask, mask, image=np.full(shape, 7.0)).shape[1] == 1008
    assert picture(mask, mask).shape[1] == 1008


def test_many_labels_with_long_names_make_the_picture_higher_and_no_wider(cube: NDArray[np.uint8]) -> None:
    many = {f"a structure with quite a long name, number {value}": value for value in range(1, 13)}
    few, tall = picture(cube, cube), picture(cube, cube, labels=many)
    assert tall.shape[1] == few.shape[1]
    assert tall.shape[0] > few.shape[0]


def test_the_same_masks_give_the_same_bytes(cube: NDArray[np.uint8]) -> None:
    truth = Scan(cube[None], RAS.copy(), Path("reference.nii.gz"))
    first, second = (overlay_png(cube, truth, labels=LABELS, scan=None) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("longest", "length"), [(47.0, 20.0), (50.0, 50.0), (1.0, 1.0), (0.3, 0.2), (900.0, 500.0)])
def test_a_scale_bar_has_a_round_length(longest: float, length: float) -> None:
    assert round_length_mm(longest) == pytest.approx(length)


def test_a_picture_is_shown_in_its_colours_and_has_no_sides() -> None:
    truth = np.zeros((40, 40, 1), np.uint8)
    colours = np.zeros((3, 40, 40, 1), np.float32)
    colours[0] = 1.0
    colours[:, 0] = [[[0.0]], [[0.0]], [[1.0]]]
    pixels = {}
    for unit in UNITS:
        scan, reference = (Scan(array, LPS.copy(), Path("a.png"), unit) for array in (colours, truth[None]))
        png = overlay_png(truth, reference, labels=LABELS, scan=scan)
        pixels[unit] = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    assert near(pixels["px"], (255, 0, 0)).mean() > 0.2
    assert not near(pixels["mm"], (255, 0, 0)).any()  # of a scan, the first channel in grey
    left, right = (near(pixels["px"], colour)[: -pixels["px"].shape[0] // 6] for colour in ((0, 0, 255), (255, 0, 0)))
    assert (
        np.nonzero(left)[1].max() <= np.nonzero(right)[1].min() + 4
    )  # the first column is on the left, as in the file
