import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.augmentation.corruption import coarse_noise, corrupt, lower_resolution, masked_blocks
from pipeline.config.autoencoder import CorruptionConfig


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def config(**settings: object) -> CorruptionConfig:
    return CorruptionConfig.model_validate(settings)


def image(*size: int) -> Tensor:
    torch.manual_seed(0)
    return torch.randn(1, *size)


def test_without_any_corruption_the_patch_stays_as_it_is() -> None:
    seen, masked = corrupt(image(8, 8, 8), config(), rng())
    assert torch.equal(seen, image(8, 8, 8))
    assert not masked.any()


@pytest.mark.parametrize("size", [(20, 20, 20), (80, 80)])
def test_noise_has_the_deviation_that_is_asked_for(size: tuple[int, ...]) -> None:
    seen, _ = corrupt(torch.zeros(1, *size), config(noise=(0.5, 0.5)), rng())
    assert float(seen.std()) == pytest.approx(0.5, rel=0.05)
    assert float(seen.mean()) == pytest.approx(0, abs=0.02)


def test_the_same_generator_gives_the_same_patch_and_another_one_another() -> None:
    everything = config(
        noise=(0.1, 1),
        coarse_noise=(0.1, 1),
        masked_share=0.5,
        masked_block_voxels=4,
        blur_voxels=(0.5, 1),
        downsampling=(2, 3),
        downsampling_axes=(2,),
    )
    one, again, other = (corrupt(image(12, 12, 12), everything, rng(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert one.dtype == torch.float32


@pytest.mark.parametrize("size", [(16, 12, 20), (16, 12)])
def test_coarse_noise_is_smooth(size: tuple[int, ...]) -> None:
    noise = coarse_noise((2, *size), 1.0, 8, rng=rng())
    assert noise.shape == (2, *size)
    steps = noise.diff(dim=1).abs().mean()
    assert 0 < float(steps) < 0.3  # neighbours of fine noise differ by 1.1 on average


def test_the_share_of_the_blocks_is_masked_and_each_block_whole() -> None:
    masked = masked_blocks((16, 16, 16), 0.25, 8, rng=rng())
    assert masked.shape == (1, 16, 16, 16)
    assert int(masked.sum()) == 2 * 8**3
    blocks = masked[0].view(2, 8, 2, 8, 2, 8).float().mean((1, 3, 5))
    assert set(blocks.flatten().tolist()) == {0.0, 1.0}


def test_blocks_at_the_end_are_cut_off() -> None:
    assert masked_blocks((10, 7), 1.0, 4, rng=rng()).all()
    assert masked_blocks((10, 7), 0.5, 4, rng=rng()).shape == (1, 10, 7)


def test_what_is_masked_is_0_and_the_rest_as_it_was() -> None:
    seen, masked = corrupt(image(8, 8, 8), config(masked_share=0.5, masked_block_voxels=2), rng())
    assert torch.equal(seen, torch.where(masked, torch.zeros(()), image(8, 8, 8)))
    assert float(masked.float().mean()) == 0.5


def test_lower_resolution_averages_along_the_axes_that_are_named_alone() -> None:
    ramp = torch.arange(8.0).view(1, 1, 8).expand(1, 4, 8)
    # pairs have the means 0.5, 2.5, 4.5 and 6.5 at the middles of their voxels; linear between, constant beyond
    expected = torch.tensor([0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 6.5])
    torch.testing.assert_close(lower_resolution(ramp, 2.0, [1]), expected.view(1, 1, 8).expand(1, 4, 8))
    torch.testing.assert_close(lower_resolution(ramp, 2.0, [0]), ramp)


def test_a_constant_stays_constant() -> None:
    for factor in (1.0, 1.7, 3.0, 50.0):
        torch.testing.assert_close(
            lower_resolution(torch.full((1, 6, 7, 8), 3.0), factor, [0, 1, 2]), torch.full((1, 6, 7, 8), 3.0)
        )
    blurred, _ = corrupt(torch.full((1, 6, 7, 8), 3.0), config(blur_voxels=(1, 1)), rng())
    torch.testing.assert_close(blurred, torch.full((1, 6, 7, 8), 3.0))
