import math
from functools import partial

import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional

from pipeline.config.autoencoder import ReconstructionLossConfig
from pipeline.losses.reconstruction import ReconstructionLoss, as_image

NOTHING = {"mse": 0, "l1": 0, "bce": 0, "ssim": 0}


def loss(weights: dict[str, float], bounds: tuple[float, float] = (0.0, 1.0)) -> ReconstructionLoss:
    return ReconstructionLoss(ReconstructionLossConfig.model_validate(NOTHING | weights), bounds, dimensions=3)


def volume(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, len(values), 1, 1)


@pytest.mark.parametrize(("name", "expected"), [("mse", (1 + 4) / 2), ("l1", (1 + 2) / 2)])
def test_errors_are_means_over_voxels(name: str, expected: float) -> None:
    assert float(loss({name: 1})(volume(1, 2), volume(0, 0))) == expected


def test_losses_are_added_up_by_their_weights() -> None:
    assert float(loss({"mse": 2, "l1": 3})(volume(1, 2), volume(0, 0))) == 2 * 2.5 + 3 * 1.5


def test_only_voxels_that_count_are_looked_at() -> None:
    counted = torch.tensor([True, False]).view(1, 1, 2, 1, 1)
    assert float(loss({"mse": 1})(volume(1, 2), volume(0, 0), counted)) == 1
    assert float(loss({"mse": 1})(volume(1, 2), volume(0, 0), torch.zeros_like(counted))) == 0


def test_cross_entropy_takes_the_range_for_0_to_1_and_clips_what_lies_outside() -> None:
    # the target 5 is the middle of 0 to 10; 20 lies above, and counts as 1
    found = float(loss({"bce": 1}, (0.0, 10.0))(volume(0, 0), volume(5, 20)))
    assert found == pytest.approx(math.log(2))
    certain = float(loss({"bce": 1}, (0.0, 10.0))(volume(100, -100), volume(20, -20)))
    assert certain == pytest.approx(0, abs=1e-6)


def test_an_output_with_cross_entropy_is_brought_back_to_the_range() -> None:
    config = ReconstructionLossConfig(mse=0, bce=1)
    found = as_image(volume(-100, 0, 100), config=config, bounds=(-2.0, 4.0))
    torch.testing.assert_close(found, volume(-2, 1, 4))
    assert torch.equal(as_image(volume(7), config=ReconstructionLossConfig(), bounds=(0, 1)), volume(7))


def test_structural_similarity_is_that_of_wang_et_al_2004() -> None:
    torch.manual_seed(0)
    one = functional.interpolate(torch.rand(1, 1, 6, 6, 6), scale_factor=4, mode="trilinear")
    other = (one + 0.1 * torch.randn_like(one)).clamp(0, 1)
    x, y = (each[0, 0].double().numpy() for each in (one, other))
    smooth = partial(gaussian_filter, sigma=1.5, truncate=2.0)  # a window of 7 voxels
    mean_x, mean_y = smooth(x), smooth(y)
    var_x, var_y, cov = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2, smooth(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    by_voxel = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    inside = by_voxel[3:-3, 3:-3, 3:-3].mean()  # where the window lies in the image
    assert 1 - float(loss({"ssim": 1})(one, other)) == pytest.approx(inside, abs=1e-4)


def test_the_same_image_has_no_loss() -> None:
    image = torch.rand(1, 1, 8, 8, 8)
    assert float(loss({"mse": 1, "l1": 1, "ssim": 1})(image, image)) == pytest.approx(0, abs=1e-6)
