"""A scan is stored in every axis order, square to the patient and oblique; what the network sees must not change."""

import itertools
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from nibabel import orientations
from numpy.typing import NDArray

from pipeline.errors import ScanError
from pipeline.metrics.overlap import Overlap
from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing, Normalisation, ScanNormalisation
from pipeline.preprocessing.prepare import (
    nonzero_box,
    plan_uncropped,
    prepare,
    prepare_labels,
    restore,
    restore_blocks,
    restore_probabilities,
)
from pipeline.scan import Scan, ScanHeader, Unit

ORDERS = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]
ANGLE = np.radians(20)
OBLIQUE = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, 1]])
SPACING_MM = (1.0, 1.5, 2.0)
PLAIN = ScanNormalisation()
UNITS: tuple[Unit, Unit] = ("mm", "px")


def fitted(
    spacing_mm: tuple[float, float, float] | None,
    *,
    crop: bool,
    channels: tuple[Normalisation, ...] = (PLAIN,),
    slice_axis: Literal[0, 1, 2] | None = None,
) -> FittedPreprocessing:
    return FittedPreprocessing(
        spacing_mm=spacing_mm,
        crop="nonzero" if crop else "none",
        channels=channels,
        resampling_order=3,
        anisotropy_ratio=3.0,
        slice_axis=slice_axis,
    )


def volume() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """An image (1, 7, 8, 9) in RAS order with a margin of zeros that differs from side to side, and its labels."""
    rng = np.random.default_rng(0)
    image, labels = np.zeros((1, 7, 8, 9), np.float32), np.zeros((7, 8, 9), np.uint8)
    image[0, 1:7, 2:7, 0:6] = rng.uniform(1, 2, (6, 5, 6))
    labels[1:7, 2:7, 0:6] = rng.integers(0, 4, (6, 5, 6))
    return image, labels


def stored(
    image: NDArray, labels: NDArray, order: str, rotation: NDArray, spacing_mm: tuple[float, ...] = SPACING_MM
) -> tuple[Scan, NDArray[np.uint8]]:
    """The same patient, with the voxel axes written in another order."""
    ras = np.eye(4)
    ras[:3, :3] = rotation @ np.diag(spacing_mm)
    ras[:3, 3] = (-20.0, 5.0, 60.0)
    steps = orientations.ornt_transform(orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(order))
    affine = ras @ orientations.inv_ornt_aff(steps, image.shape[1:])
    channels = np.stack([orientations.apply_orientation(channel, steps) for channel in image])
    return Scan(channels, affine, Path("scan.nii")), orientations.apply_orientation(labels, steps)


def one_hot(classes: NDArray, count: int) -> NDArray[np.float32]:
    return np.stack([classes == value for value in range(count)]).astype(np.float32)


def ball(shape: tuple[int, ...], spacing_mm: tuple[float, ...], radius_mm: float) -> NDArray[np.uint8]:
    """A ball of label 1 with a ball of label 2 in it."""
    index = np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in shape), indexing="ij")
    distance = np.sqrt(sum((i * mm) ** 2 for i, mm in zip(index, spacing_mm, strict=True)))
    return (distance < radius_mm).astype(np.uint8) + (distance < radius_mm / 2).astype(np.uint8)


def test_there_are_48_axis_orders() -> None:
    assert len(set(ORDERS)) == 48


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize("rotation", [np.eye(3), OBLIQUE], ids=["square", "oblique"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_mask_comes_back_as_it_was_from_every_axis_order(order: str, rotation: NDArray, crop: bool) -> None:
    scan, mask = stored(*volume(), order, rotation)
    trail = prepare(scan, fitted(None, crop=crop)).trail
    prepared = prepare_labels(mask, trail)
    assert prepared.shape == ((6, 5, 6) if crop else (7, 8, 9))
    restored = restore(one_hot(prepared, 4), trail)
    assert restored.dtype == np.uint8
    np.testing.assert_array_equal(restored, mask)


@pytest.mark.parametrize("spacing_mm", [None, (1.5, 1.0, 1.2)], ids=["native", "resampled"])
@pytest.mark.parametrize("order", ORDERS)
def test_what_the_network_sees_does_not_depend_on_the_axis_order(
    order: str, spacing_mm: tuple[float, float, float] | None
) -> None:
    settings = fitted(spacing_mm, crop=True)
    scan, mask = stored(*volume(), order, np.eye(3))
    upright, upright_mask = stored(*volume(), "RAS", np.eye(3))
    expected, found = prepare(upright, settings), prepare(scan, settings)
    np.testing.assert_allclose(found.image, expected.image, atol=1e-4)
    np.testing.assert_array_equal(prepare_labels(mask, found.trail), prepare_labels(upright_mask, expected.trail))


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_for_networks_of_images_slices_lie_across_the_last_axis_and_are_not_resampled(
    order: str, slice_axis: Literal[0, 1, 2]
) -> None:
    image, labels = volume()
    scan, _ = stored(image, labels, order, OBLIQUE)
    preprocessing = fitted((1.5, 1.0, 1.2), crop=False, slice_axis=slice_axis)
    prepared = prepare(scan, preprocessing)
    # 7, 8 and 9 voxels of 1, 1.5 and 2 mm, at 1.5, 1 and 1.2 mm: 4.67, 12 and 15, rounded
    resampled = [n for axis, n in enumerate((5, 12, 15)) if axis != slice_axis]
    assert prepared.image.shape[1:] == (*resampled, (7, 8, 9)[slice_axis])
    assert prepared.trail.prepared_spacing_mm[2] == pytest.approx(SPACING_MM[slice_axis])
    upright = prepare(stored(image, labels, "RAS", OBLIQUE)[0], preprocessing)
    np.testing.assert_allclose(prepared.image, upright.image, atol=1e-4)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("order", ["RAS", "LPI", "ASR", "IRP"])
def test_a_mask_of_slices_comes_back_as_it_was(order: str, slice_axis: Literal[0, 1, 2]) -> None:
    scan, labels = stored(*volume(), order, OBLIQUE)
    trail = prepare(scan, fitted(None, crop=True, slice_axis=slice_axis)).trail
    assert np.array_equal(restore(one_hot(prepare_labels(labels, trail), 4), trail), labels)


def test_the_image_is_upright_cropped_and_normalised() -> None:
    image, labels = volume()
    scan, _ = stored(image, labels, "LIP", np.eye(3))
    prepared = prepare(scan, fitted(None, crop=True))
    inside = image[:, 1:7, 2:7, 0:6].astype(np.float64)
    assert prepared.image.dtype == np.float32
    assert prepared.trail.box == ((1, 7), (2, 7), (0, 6))
    np.testing.assert_allclose(prepared.image, (inside - inside.mean()) / inside.std(), atol=1e-5)


def test_each_channel_is_normalised_in_its_own_way() -> None:
    image, labels = volume()
    scan, _ = stored(np.concatenate([image, image]), labels, "RAS", np.eye(3))
    channels = (ScanNormalisation(), ClipNormalisation(low=1.0, high=1.5, mean=1.0, std=0.5))
    prepared = prepare(scan, fitted(None, crop=False, channels=channels))
    np.testing.assert_allclose(prepared.image[1], (np.clip(image[0], 1.0, 1.5) - 1.0) / 0.5, atol=1e-6)
    assert abs(prepared.image[0].mean()) < 1e-6


@pytest.mark.parametrize("order", ["RAS", "LPI", "ASR", "IRP"])
@pytest.mark.parametrize(
    ("spacing_mm", "target_mm"),
    [((1.0, 1.0, 1.0), (1.5, 0.8, 1.2)), ((0.8, 0.8, 4.0), (1.0, 1.0, 4.0)), ((0.8, 0.8, 4.0), (1.0, 1.0, 1.0))],
    ids=["isotropic", "thick slices kept", "thick slices made thin"],
)
def test_a_mask_that_was_resampled_comes_back_nearly_as_it_was(
    order: str, spacing_mm: tuple[float, ...], target_mm: tuple[float, float, float]
) -> None:
    labels = ball((30, 32, 26 if spacing_mm[2] < 2 else 8), spacing_mm, radius_mm=10.0)
    scan, mask = stored(labels[None].astype(np.float32), labels, order, np.eye(3), spacing_mm)
    trail = prepare(scan, fitted(target_mm, crop=False)).trail
    restored = restore(one_hot(prepare_labels(mask, trail), 3), trail)
    assert restored.shape == mask.shape
    for value in (1, 2):
        dice = Overlap.of(restored == value, mask == value).dice
        assert dice is not None
        assert dice > 0.9


def test_the_trail_tells_the_coarse_axis_in_ras_order() -> None:
    image, labels = volume()
    thick, _ = stored(image, labels, "SRA", np.eye(3), (0.5, 0.5, 5.0))
    assert prepare(thick, fitted((0.5, 0.5, 1.0), crop=False)).trail.coarse == 2
    even, _ = stored(image, labels, "SRA", np.eye(3), (1.0, 1.0, 1.0))
    assert prepare(even, fitted((1.0, 1.0, 1.0), crop=False)).trail.coarse is None
    assert prepare(even, fitted((1.0, 4.0, 1.0), crop=False)).trail.coarse == 1  # the target makes it so


def test_voxels_that_were_cropped_away_are_background() -> None:
    image, labels = volume()
    scan, _ = stored(image, labels, "RAS", np.eye(3))
    trail = prepare(scan, fitted(None, crop=True)).trail
    restored = restore(one_hot(np.full(trail.shape, 3), 4), trail)
    assert np.count_nonzero(restored) == 6 * 5 * 6
    assert (restored[1:7, 2:7, 0:6] == 3).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("slice_axis", [None, 0])
@pytest.mark.parametrize("order", ["RAS", "LPI", "ASR", "IRP"])
def test_blocks_give_the_mask_of_the_whole_volume(order: str, slice_axis: Literal[0] | None, axis: int) -> None:
    scan, _ = stored(*volume(), order, OBLIQUE)
    trail = prepare(scan, fitted((1.4, 1.0, 1.2), crop=True, slice_axis=slice_axis)).trail
    scores = np.random.default_rng(0).random((4, *trail.shape), dtype=np.float32)
    expected = restore_probabilities(scores, trail).argmax(0)  # by scipy
    advance = (axis, (axis + 1) % 3, (axis + 2) % 3)
    sides = [[slice(first, min(first + 2, n)) for first in range(0, n, 2)] for n in trail.shape]
    places = itertools.product(*(sides[each] for each in advance))
    boxes = [tuple(place[advance.index(each)] for each in range(3)) for place in places]
    found = restore_blocks(((box, scores[(slice(None), *box)]) for box in boxes), trail, order=advance)
    assert found.shape == scan.shape
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(restore(scores, trail), expected)


@pytest.mark.parametrize("slice_axis", [None, 1])
@pytest.mark.parametrize("order", ["RAS", "LPI", "ASR", "IRP"])
def test_of_a_header_alone_the_trail_is_that_of_a_scan_that_cannot_be_cropped(
    order: str, slice_axis: Literal[1] | None
) -> None:
    scan, _ = stored(*volume(), order, OBLIQUE)
    header = ScanHeader(scan.shape, scan.channels, scan.affine)
    spacing_mm = (1.5, 1.0, 1.2)
    uncropped = prepare(scan, fitted(spacing_mm, crop=False, slice_axis=slice_axis)).trail
    assert plan_uncropped(header, fitted(spacing_mm, crop=True, slice_axis=slice_axis)) == uncropped


def test_another_number_of_channels_than_in_training_is_refused() -> None:
    image, labels = volume()
    scan, _ = stored(np.concatenate([image, image]), labels, "RAS", np.eye(3))
    with pytest.raises(ScanError, match=r"a scan with 1 channel, as in training; found 2\. Give one volume a channel"):
        prepare(scan, fitted(None, crop=False))
    with pytest.raises(ScanError, match=r"a scan with 3 channels, as in training; found 2"):
        prepare(scan, fitted(None, crop=False, channels=(PLAIN, PLAIN, PLAIN)))


def test_the_nonzero_box_holds_every_voxel_of_every_channel() -> None:
    image = np.zeros((2, 5, 6, 7))
    image[0, 1, 2, 3] = 1.0
    image[1, 3, 2, 6] = -1.0
    assert nonzero_box(image) == ((1, 4), (2, 3), (3, 7))


def test_an_image_of_zeros_is_kept_whole() -> None:
    assert nonzero_box(np.zeros((1, 2, 3, 4))) == ((0, 2), (0, 3), (0, 4))


def test_a_scan_that_its_spacing_would_blow_up_is_refused_before_it_is_resampled() -> None:
    scan = Scan(np.ones((1, 40, 50, 40)), np.diag([1000.0, 1000.0, 1000.0, 1.0]), Path("in metres.nii"))
    refused = (
        r"at the model's spacing of 1 x 1 x 1 mm; found 40000 x 50000 x 40000 x 1 voxels, from a spacing of 1e\+03"
    )
    with pytest.raises(ScanError, match=refused):
        prepare(scan, fitted((1.0, 1.0, 1.0), crop=False))


def test_a_picture_is_not_taken_for_a_scan_of_1_mm_nor_a_scan_for_a_picture() -> None:
    array = np.ones((1, 4, 4, 1), np.float32)
    scan, picture = (Scan(array.copy(), np.eye(4), Path("scan"), unit) for unit in UNITS)
    of_scans = fitted((1.0, 1.0, 1.0), crop=False)
    of_pictures = of_scans.model_copy(update={"unit": "px"})
    assert prepare(scan, of_scans).image.shape == prepare(picture, of_pictures).image.shape == (1, 4, 4, 1)
    with pytest.raises(ScanError, match=r"a scan with a spacing in mm, as in training; found a picture"):
        prepare(picture, of_scans)
    with pytest.raises(ScanError, match=r"a picture without a spacing .*, as in training; found a scan with a spacing"):
        prepare(scan, of_pictures)
