"""Moments of an encoder's channels over windows."""

import numpy as np
import pytest
import torch

from pipeline.inference.features import MOST_VOXELS, EncoderFeatures, thinned


def test_windows_are_put_together_to_the_moments_of_all_their_voxels() -> None:
    rng = np.random.default_rng(0)
    windows = [
        [rng.normal(number, 1 + number, (1, 3, 4, 4, 4)), rng.normal(0, 1, (1, 5, 2, 2, 2))] for number in range(3)
    ]
    features = EncoderFeatures()
    for window in windows:
        features.see([torch.from_numpy(stage.astype(np.float32)) for stage in window])
    expected = []
    for stage in range(2):
        voxels = np.concatenate([window[stage][0].reshape(window[stage].shape[1], -1) for window in windows], axis=1)
        expected += [voxels.mean(axis=1), voxels.std(axis=1)]
    assert np.allclose(features.values(), np.concatenate(expected), atol=1e-5)


def test_a_large_stage_is_thinned_out_to_moments_near_those_of_all_its_voxels() -> None:
    rng, smooth = np.random.default_rng(0), np.linspace(-1, 1, 60, dtype=np.float32)
    large = (smooth[:, None, None] * smooth[:, None] + smooth + rng.normal(0, 1, (1, 2, 60, 60, 60))).astype(np.float32)
    features = EncoderFeatures()
    features.see([torch.from_numpy(large)])
    exact = np.concatenate([large.mean((0, 2, 3, 4)), large.std((0, 2, 3, 4))])
    assert np.allclose(features.values(), exact, atol=0.04)


@pytest.mark.parametrize("shape", [(3, 400, 400), (4, 512, 512), (37, 37, 37), (448, 448)], ids=str)
def test_no_more_voxels_are_taken_than_is_said_and_a_short_axis_keeps_all_of_its_places(shape: tuple[int, ...]) -> None:
    taken = thinned(torch.zeros(1, 2, *shape))
    assert MOST_VOXELS / 4 < taken[0, 0].numel() <= MOST_VOXELS
    assert taken.shape[2] == shape[0] or min(shape) == max(shape)


def test_a_channel_that_is_the_same_everywhere_has_a_deviation_of_0() -> None:
    features = EncoderFeatures()
    for _ in range(3):
        features.see([torch.full((1, 2, 4, 4, 4), 1000.1)])
    assert np.allclose(features.values(), [1000.1, 1000.1, 0, 0], atol=1e-3)
