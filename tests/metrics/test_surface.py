import numpy as np
import pytest
import torch
from monai.metrics.hausdorff_distance import compute_hausdorff_distance
from monai.metrics.surface_dice import compute_surface_dice
from monai.metrics.surface_distance import compute_average_surface_distance
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.metrics.surface import SurfaceDistances, asd_mm, hd95_mm, nsd, surface, surface_distances

ONE_MM = (1.0, 1.0, 1.0)
ABOUT_MONAI_ITSELF = pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
"""MONAI 1.6 warns of an argument that its own metrics pass."""
SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (2.0, 0.5, 1.3)]


def voxels(*indices: tuple[int, ...], shape: tuple[int, ...] = (3, 3, 13)) -> NDArray[np.bool_]:
    """A mask of these voxels."""
    mask = np.zeros(shape, dtype=bool)
    for index in indices:
        mask[index] = True
    return mask


def blob(seed: int, shape: tuple[int, ...] = (17, 14, 9)) -> NDArray[np.bool_]:
    """A random mask with several smooth parts, some of which touch the border."""
    return ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 1.5) > 0.05


def test_the_surface_of_a_plane_figure_are_the_voxels_with_a_neighbour_outside() -> None:
    mask = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=bool)
    edge = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]], dtype=bool)
    np.testing.assert_array_equal(surface(mask), edge)


def test_a_voxel_that_only_touches_the_outside_at_a_corner_is_no_surface() -> None:
    mask = np.ones((5, 5), dtype=bool)
    mask[0, 0] = False
    assert not surface(mask)[1, 1]


def test_what_lies_beyond_the_array_is_outside() -> None:
    assert surface(np.ones((3, 3, 3), dtype=bool)).sum() == 26


def test_two_voxels_two_steps_of_2_mm_apart_are_4_mm_apart() -> None:
    distances = surface_distances(voxels((1, 1, 1)), voxels((1, 1, 3)), (1.0, 1.0, 2.0))
    assert hd95_mm(distances) == pytest.approx(4.0)
    assert asd_mm(distances) == pytest.approx(4.0)
    assert nsd(distances, tolerance_mm=3.9) == 0.0
    assert nsd(distances, tolerance_mm=4.0) == 1.0


def test_a_diagonal_distance_takes_every_axis_at_its_own_spacing() -> None:
    distances = surface_distances(voxels((0, 0, 0)), voxels((1, 1, 1)), (2.0, 3.0, 6.0))
    assert hd95_mm(distances) == pytest.approx(7.0)  # sqrt(4 + 9 + 36)


def test_a_stray_voxel_10_mm_away_shows_in_one_direction_only() -> None:
    distances = surface_distances(voxels((1, 1, 0), (1, 1, 10)), voxels((1, 1, 0)), ONE_MM)
    np.testing.assert_allclose(distances.from_predicted_mm, [0.0, 10.0])
    np.testing.assert_allclose(distances.from_reference_mm, [0.0])


def test_hd95_is_the_larger_directed_percentile_and_not_that_of_both_directions_together() -> None:
    distances = surface_distances(voxels((1, 1, 0), (1, 1, 10)), voxels((1, 1, 0)), ONE_MM)
    assert hd95_mm(distances) == pytest.approx(9.5)  # 95 % of the way from 0 to 10; of 0, 0, 10 together it is 9


def test_hd95_does_not_depend_on_which_mask_is_the_prediction() -> None:
    distances = surface_distances(voxels((1, 1, 0)), voxels((1, 1, 0), (1, 1, 10)), ONE_MM)
    assert hd95_mm(distances) == pytest.approx(9.5)


def test_asd_and_nsd_count_the_surface_voxels_of_both_masks_alike() -> None:
    distances = surface_distances(voxels((1, 1, 0), (1, 1, 10)), voxels((1, 1, 0)), ONE_MM)
    assert asd_mm(distances) == pytest.approx((0 + 10 + 0) / 3)
    assert nsd(distances, tolerance_mm=1.0) == pytest.approx(2 / 3)


def test_equal_masks_are_at_no_distance() -> None:
    distances = surface_distances(blob(0), blob(0), ONE_MM)
    assert (hd95_mm(distances), asd_mm(distances), nsd(distances, 0.0)) == (0, 0, 1)


def test_a_voxel_apart_agrees_at_1_mm_although_the_header_rounds_the_spacing_up() -> None:
    distances = surface_distances(voxels((1, 1, 1)), voxels((1, 1, 2)), (1.0, 1.0, 1.0000001))
    assert nsd(distances, tolerance_mm=1.0) == 1.0


@pytest.mark.parametrize("swap", [False, True])
def test_one_empty_mask_has_no_distances_and_a_surface_dice_of_zero(swap: bool) -> None:
    masks = [voxels(), voxels((1, 1, 1))]
    distances = surface_distances(masks[swap], masks[not swap], ONE_MM)
    assert (hd95_mm(distances), asd_mm(distances), nsd(distances, 1000.0)) == (None, None, 0)


def test_two_empty_masks_have_no_score() -> None:
    distances = surface_distances(voxels(), voxels(), ONE_MM)
    assert (hd95_mm(distances), asd_mm(distances), nsd(distances, 1.0)) == (None, None, None)


def test_an_image_stored_as_one_slice_is_scored_by_its_outline() -> None:
    predicted, reference = blob(1, (20, 20)), blob(2, (20, 20))
    flat = surface_distances(predicted[..., None], reference[..., None], (1.0, 2.0, 5.0))
    plane = surface_distances(predicted, reference, (1.0, 2.0))
    np.testing.assert_array_equal(flat.from_predicted_mm, plane.from_predicted_mm)
    np.testing.assert_array_equal(flat.from_reference_mm, plane.from_reference_mm)


def test_an_array_of_one_voxel_has_one_surface_voxel() -> None:
    one = np.ones((1, 1, 1), dtype=bool)
    np.testing.assert_array_equal(surface_distances(one, one, ONE_MM).from_predicted_mm, [0.0])


@pytest.mark.parametrize("spacing_mm", SPACINGS)
def test_distances_agree_with_scipys_distance_transform(spacing_mm: tuple[float, ...]) -> None:
    predicted, reference = blob(1), blob(2)
    to_reference = ndimage.distance_transform_edt(~surface(reference), sampling=spacing_mm)
    distances = surface_distances(predicted, reference, spacing_mm)
    np.testing.assert_allclose(distances.from_predicted_mm, to_reference[surface(predicted)], rtol=1e-12)


@ABOUT_MONAI_ITSELF
@pytest.mark.parametrize("spacing_mm", SPACINGS)
@pytest.mark.parametrize("seed", [0, 2])
def test_surface_metrics_agree_with_monai_in_volumes(seed: int, spacing_mm: tuple[float, ...]) -> None:
    predicted, reference = blob(seed), blob(seed + 1)
    assert_agreement_with_monai(surface_distances(predicted, reference, spacing_mm), predicted, reference, spacing_mm)


@ABOUT_MONAI_ITSELF
@pytest.mark.parametrize("seed", [0, 2])
def test_surface_metrics_agree_with_monai_in_images(seed: int) -> None:
    predicted, reference = blob(seed, (30, 40)), blob(seed + 1, (30, 40))
    distances = surface_distances(predicted[..., None], reference[..., None], (0.8, 1.7, 1.0))
    assert_agreement_with_monai(distances, predicted, reference, (0.8, 1.7))


def assert_agreement_with_monai(
    distances: SurfaceDistances,
    predicted: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing_mm: tuple[float, ...],
) -> None:
    """Compare all three metrics; MONAI's numbers have 32 bits."""
    ours, theirs = (torch.from_numpy(mask)[None, None] for mask in (predicted, reference))
    hausdorff = compute_hausdorff_distance(ours, theirs, include_background=True, percentile=95, spacing=spacing_mm)
    average = compute_average_surface_distance(
        ours, theirs, include_background=True, symmetric=True, spacing=spacing_mm
    )
    surface_dice = compute_surface_dice(ours, theirs, [1.5], include_background=True, spacing=spacing_mm)
    assert hd95_mm(distances) == pytest.approx(hausdorff.item(), rel=1e-5)
    assert asd_mm(distances) == pytest.approx(average.item(), rel=1e-5)
    assert nsd(distances, tolerance_mm=1.5) == pytest.approx(surface_dice.item(), rel=1e-5)
    assert 0 < surface_dice.item() < 1
