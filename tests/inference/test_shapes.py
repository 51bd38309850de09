"""Masks on the coarse grid, and an autoencoder that knows some shapes from others."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.errors import ModelError
from pipeline.inference.shapes import Shapes, shape_views
from pipeline.training.coarse import fit_shapes

MM = (1.0, 1.0, 1.0)


def ellipsoid(seed: int, shape: tuple[int, int, int] = (40, 40, 40)) -> NDArray[np.uint8]:
    """Two halves of an ellipsoid, whose place and size vary."""
    rng = np.random.default_rng(seed)
    middle, radii = np.array(shape) / 2 + rng.uniform(-3, 3, 3), np.array([10, 6, 6]) * rng.uniform(0.7, 1.2)
    offsets = [axis - at for axis, at in zip(np.indices(shape), middle, strict=True)]
    inside = sum((each / radius) ** 2 for each, radius in zip(offsets, radii, strict=True)) < 1
    return (inside * np.where(offsets[0] < 0, 1, 2)).astype(np.uint8)


def test_neither_place_nor_size_nor_spacing_matters() -> None:
    classes = np.zeros((30, 30, 30), np.uint8)
    classes[2:12, 3:8, 4:9] = 1
    classes[12:22, 3:8, 4:9] = 2
    views = shape_views(classes, 2, spacing=MM, dimensions=3)
    assert views.shape == (1, 2, 32, 32, 32)
    moved = shape_views(np.roll(classes, (5, 4, 3), (0, 1, 2)), 2, spacing=MM, dimensions=3)
    large = shape_views(classes.repeat(2, 0).repeat(2, 1).repeat(2, 2), 2, spacing=MM, dimensions=3)
    coarse = shape_views(classes[:, :, ::1].repeat(2, 2), 2, spacing=(1, 1, 0.5), dimensions=3)
    for other in (moved, large, coarse):
        assert torch.equal(other, views)
    assert views[0, 0].sum() == views[0, 1].sum() == 16 * 8 * 8


def test_what_is_no_label_counts_as_background_and_an_empty_mask_has_a_view() -> None:
    classes = np.full((8, 8, 8), 255, np.uint8)
    assert shape_views(classes, 2, spacing=MM, dimensions=3).sum() == 0
    classes[2:6, 2:6, 2:6] = 1
    assert shape_views(classes, 2, spacing=MM, dimensions=3)[0, 0].sum() == 32**3


def test_slices_that_hold_nothing_have_no_view() -> None:
    classes = np.zeros((20, 30, 40), np.uint8)
    classes[5:10, 5:15, 10:30] = 1
    assert shape_views(classes, 1, spacing=MM, dimensions=2).shape == (8, 1, 64, 64)
    assert shape_views(classes[..., 10:12], 1, spacing=MM, dimensions=2).shape == (2, 1, 64, 64)
    assert shape_views(classes[..., :5], 1, spacing=MM, dimensions=2).shape == (0, 1, 64, 64)


@pytest.fixture(scope="module")
def shapes() -> Shapes:
    views = torch.cat([shape_views(ellipsoid(seed), 2, spacing=MM, dimensions=3) for seed in range(20)])
    return Shapes(fit_shapes(views, steps=60, mirror_axes=(), seed=0), 2, 3)


def test_a_shape_like_those_of_training_is_reproduced_and_another_one_is_not(shapes: Shapes) -> None:
    odd = ellipsoid(100)
    odd[14:26, 17:23, 17:23] = 0
    other = np.zeros_like(odd)
    other[5:35, 18:22, 5:35] = 1
    usual = [shapes.dice(ellipsoid(seed), MM).min() for seed in range(100, 105)]
    assert min(usual) > 0.8
    assert shapes.dice(odd, MM).min() < min(usual) - 0.05
    assert shapes.dice(other, MM).min() < 0.5


def test_the_arrays_give_it_back_and_others_are_refused(shapes: Shapes) -> None:
    again = Shapes.from_arrays(shapes.to_arrays(), labels=2, dimensions=3)
    assert np.allclose(again.dice(ellipsoid(7), MM), shapes.dice(ellipsoid(7), MM), atol=0.01)  # a voxel may differ
    kept = shapes.to_arrays()
    assert all(
        array.flags["C_CONTIGUOUS"] and np.array_equal(array, kept[name]) for name, array in again.to_arrays().items()
    )
    with pytest.raises(ModelError, match="variational autoencoder of shapes"):
        Shapes.from_arrays(shapes.to_arrays(), labels=3, dimensions=3)
