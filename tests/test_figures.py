"""Pictures, read back pixel by pixel."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from pipeline.figures import CAPTION_PIXELS, COLOURS, PANEL_PIXELS, write_preview
from pipeline.scan import Scan

RAS = np.eye(4)
GAP = 6


def picture(target: Path, image: NDArray, mask: NDArray[np.uint8], affine: NDArray[np.float64] = RAS) -> NDArray:
    write_preview(target, Scan(image[None], affine.copy(), Path("scan.nii.gz")), mask, labels={"a": 1, "b": 2})
    return np.asarray(Image.open(target))


def panels(pixels: NDArray) -> list[NDArray]:
    """The three planes of a cube: sagittal, coronal, axial."""
    step = PANEL_PIXELS + GAP
    return [
        pixels[CAPTION_PIXELS : CAPTION_PIXELS + PANEL_PIXELS, n * step : n * step + PANEL_PIXELS] for n in range(3)
    ]


def coloured(panel: NDArray) -> NDArray[np.bool_]:
    """Pixels that are not grey."""
    return np.ptp(panel.astype(int), axis=-1) > 8


def middle(inside: NDArray[np.bool_]) -> tuple[float, float]:
    """Middle of a region as shares of height and width, counted from the top left."""
    rows, columns = np.nonzero(inside)
    return float(rows.mean() / inside.shape[0]), float(columns.mean() / inside.shape[1])


@pytest.fixture
def corner() -> NDArray[np.uint8]:
    """A structure at the right, anterior, superior corner of a cube whose axes run right, anterior, superior."""
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[12:, 12:, 12:] = 1
    return mask


@pytest.mark.parametrize("affine", [RAS, np.diag([-1.0, -1.0, 1.0, 1.0]) @ np.eye(4)])
def test_right_is_on_the_left_and_front_and_head_are_up(
    tmp_path: Path, corner: NDArray[np.uint8], affine: NDArray[np.float64]
) -> None:
    mask = corner if affine[0, 0] > 0 else corner[::-1, ::-1]  # the same structure, stored in LPS order
    image = np.random.default_rng(0).normal(size=mask.shape).astype(np.float32)
    sagittal, coronal, axial = panels(picture(tmp_path / "p.png", image, mask, affine))
    assert middle(coloured(sagittal)) == pytest.approx((1 / 8, 1 / 8), abs=0.01)  # head up, front to the left
    assert middle(coloured(coronal)) == pytest.approx((1 / 8, 1 / 8), abs=0.01)  # head up, right on the left
    assert middle(coloured(axial)) == pytest.approx((1 / 8, 1 / 8), abs=0.01)  # front up, right on the left


def test_the_planes_go_through_the_largest_cross_section(tmp_path: Path) -> None:
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[2, 2:14, 2:14] = 1  # the slice of most voxels
    mask[8, 7:9, 7:9] = 1
    sagittal, _, _ = panels(picture(tmp_path / "p.png", np.zeros(mask.shape, np.float32), mask))
    assert coloured(sagittal).mean() == pytest.approx((12 / 16) ** 2, abs=0.01)


def test_each_label_has_its_colour_at_its_edge_and_the_picture_shows_through_inside(tmp_path: Path) -> None:
    mask = np.zeros((16, 16, 16), np.uint8)
    mask[:, :8], mask[:, 8:] = 1, 2
    pixels = picture(tmp_path / "p.png", np.zeros(mask.shape, np.float32), mask)
    axial = panels(pixels)[2]
    assert tuple(axial[-1, 100]) == COLOURS[0]
    assert tuple(axial[0, 100]) == COLOURS[1]
    inside = tuple(axial[-50, 100])
    assert all(0 < value < edge for value, edge in zip(inside, COLOURS[0], strict=True))


def test_planes_have_the_proportions_of_the_patient_and_not_of_the_array(tmp_path: Path) -> None:
    image = np.zeros((20, 20, 5), np.float32)  # 20 x 20 x 40 mm
    pixels = picture(tmp_path / "p.png", image, np.zeros(image.shape, np.uint8), np.diag([1.0, 1.0, 8.0, 1.0]))
    assert pixels.shape[:2] == (PANEL_PIXELS + 2 * CAPTION_PIXELS, 3 * PANEL_PIXELS // 2 + 2 * GAP)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_an_empty_mask_on_a_scan_without_contrast_is_still_a_picture(tmp_path: Path, value: float) -> None:
    image = np.full((4, 5, 6), value, np.float32)
    pixels = picture(tmp_path / "p.png", image, np.zeros(image.shape, np.uint8))
    assert not coloured(pixels[CAPTION_PIXELS:-CAPTION_PIXELS]).any()


def test_a_picture_that_fails_leaves_the_older_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.zeros((4, 4, 4), np.uint8)
    picture(tmp_path / "p.png", np.zeros(mask.shape, np.float32), mask)
    before = (tmp_path / "p.png").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        picture(tmp_path / "p.png", np.ones(mask.shape, np.float32), mask)
    assert (tmp_path / "p.png").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]


def test_the_preview_of_a_picture_is_the_picture_as_it_stands_in_its_file(tmp_path: Path) -> None:
    array = np.zeros((1, 40, 20, 1), np.uint8)  # 40 columns and 20 rows
    array[0, 30:, :5] = 255  # above, on the right
    scan = Scan(array, np.diag([-1.0, -1, 1, 1]), Path("scan.png"), "px")
    write_preview(tmp_path / "preview.png", scan, np.zeros((40, 20, 1), np.uint8), labels={})
    with Image.open(tmp_path / "preview.png") as preview:
        drawn = np.asarray(preview.convert("L"), dtype=float)[22 : 22 + 320, :640]  # below the caption, 16 for a pixel
    assert preview.height == 320 + 2 * 22
    assert drawn[:60, 500:].min() > 200
    above_the_bar = drawn[:280]
    assert above_the_bar[100:].max() == above_the_bar[:, :460].max() == 0
    assert drawn[280:, :300].max() == 255  # the bar of 10 pixels and its length
