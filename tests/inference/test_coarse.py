"""Scans on a coarse grid, and the autoencoders that see them there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from pipeline.errors import ModelError
from pipeline.inference.coarse import CoarseAutoencoders, coarse_views, new_autoencoder

KINDS = ("denoising", "variational")


def scan(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


def untrained(dimensions: int, channels: int = 1) -> CoarseAutoencoders:
    torch.manual_seed(0)
    networks = {kind: new_autoencoder(kind, channels=channels, dimensions=dimensions).eval() for kind in KINDS}
    return CoarseAutoencoders(networks, dimensions)


def test_a_scan_fills_the_grid_by_means_of_its_voxels() -> None:
    image = np.zeros((2, 64, 96, 32), np.float32)
    image[0, :2, :3, :1], image[1] = 8.0, 3.0
    views = coarse_views(image, 3)
    assert views.shape == (1, 2, 32, 32, 32)
    assert views[0, 0, 0, 0, 0] == 8.0
    assert views[0, 0].sum() == 8.0
    assert (views[0, 1] == 3.0).all()


def test_a_scan_smaller_than_the_grid_is_spread_over_it() -> None:
    assert torch.equal(coarse_views(np.full((1, 5, 40, 7), 2.0, np.float32), 3), torch.full((1, 1, 32, 32, 32), 2.0))


def test_slices_are_views_of_their_own_and_a_few_stand_for_many() -> None:
    image = np.broadcast_to(np.arange(100, dtype=np.float32), (1, 64, 64, 100)).copy()
    views = coarse_views(image, 2)
    assert views.shape == (8, 1, 64, 64)
    assert views[[0, -1], 0, 0, 0].tolist() == [0.0, 99.0]
    assert coarse_views(image[..., :1], 2).shape == (1, 1, 64, 64)


@pytest.mark.parametrize(("dimensions", "shape"), [(3, (1, 20, 30, 40)), (2, (3, 50, 70, 3))])
def test_errors_are_mean_squares_over_the_grid(dimensions: int, shape: tuple[int, ...]) -> None:
    made, image = untrained(dimensions, shape[0]), scan(*shape)
    views, expected = coarse_views(image, dimensions), []
    with torch.inference_mode():
        for kind in KINDS:
            expected.append(float(((made.networks[kind](views).output - views) ** 2).mean()))
    assert np.allclose(made.errors(image), expected, rtol=1e-5)
    seen, found = made.reconstructed(image)
    grid = (32, 32, 32) if dimensions == 3 else (64, 64, 3)
    assert seen.shape == found.shape == (shape[0], *grid)
    assert np.isclose(seen[..., 0].mean(), views[..., 0].mean() if dimensions == 3 else views[0].mean(), atol=1e-6)


def test_they_come_back_from_their_arrays(tmp_path: Path) -> None:
    made, image = untrained(3), scan(1, 20, 20, 20)
    again = CoarseAutoencoders.from_arrays(made.to_arrays(), channels=1, dimensions=3)
    assert np.allclose(again.errors(image), made.errors(image), rtol=1e-5)
    save_file(again.to_arrays(), tmp_path / "weights")  # which writes an array as it lies in memory
    twice = CoarseAutoencoders.from_arrays(load_file(tmp_path / "weights"), channels=1, dimensions=3)
    assert np.array_equal(twice.errors(image), again.errors(image))


def test_of_an_older_model_with_two_networks_a_kind_the_first_is_taken() -> None:
    made, image = untrained(3), scan(1, 20, 20, 20)
    second = {name.replace(".0.", ".1.", 1): array + 1 for name, array in made.to_arrays().items()}
    again = CoarseAutoencoders.from_arrays(made.to_arrays() | second, channels=1, dimensions=3)
    assert np.allclose(again.errors(image), made.errors(image), rtol=1e-5)


def test_weights_of_another_network_are_refused() -> None:
    arrays = untrained(3).to_arrays()
    with pytest.raises(ModelError, match="denoising autoencoder of the scan gate"):
        CoarseAutoencoders.from_arrays(arrays, channels=2, dimensions=3)
    arrays.pop(next(name for name in arrays if name.startswith("denoising.0")))
    with pytest.raises(ModelError, match="denoising autoencoder"):
        CoarseAutoencoders.from_arrays(arrays, channels=1, dimensions=3)
