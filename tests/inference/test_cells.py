"""Cells that wait are put away in 8 bits where they are many: what that does to means, and to memory."""

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.inference import windows
from pipeline.inference.cells import NOTHING, Sums, Waiting
from pipeline.inference.sliding_window import slide, sliding_window
from pipeline.inference.windows import nesting
from pipeline.preprocessing.blocks import argmax_blocks


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def put_away(mean: Tensor, mass: Tensor) -> Tensor:
    return Waiting.of(Sums(mean * mass, mass.clone())).sums().mean()


def test_a_mean_that_is_put_away_is_wrong_by_half_a_step_at_most() -> None:
    mean, mass = torch.rand(3, 5, 6, 7), torch.rand(5, 6, 7) + 1e-4
    mean[1] *= 0.01
    error = (put_away(mean, mass) - mean).abs().amax((1, 2, 3))
    steps = (mean.amax((1, 2, 3)) - mean.amin((1, 2, 3))) / 255
    assert (error <= 0.51 * steps + 1e-7).all()
    assert (error > 0).all()


def test_values_below_zero_are_put_away_too() -> None:
    mean, mass = noise(2, 4, 4, 4) * 3 - 1, torch.ones(4, 4, 4)
    torch.testing.assert_close(put_away(mean, mass), mean, rtol=0, atol=float(mean.max() - mean.min()) / 500)


def test_a_class_that_is_nowhere_takes_no_memory_and_where_no_window_was_stays_empty() -> None:
    mean, mass = torch.zeros(4, 3, 3, 3), torch.ones(3, 3, 3)
    mean[1], mean[2], mean[3] = 0.7, NOTHING / 2, NOTHING * 2
    mass[0] = 0
    waiting = Waiting.of(Sums(mean * mass, mass))
    assert waiting.classes.tolist() == [1, 3]
    assert waiting.steps.shape == (2, 3, 3, 3)
    found = waiting.sums()
    assert (found.total[:, 0] == 0).all()
    torch.testing.assert_close(found.total[1, 1:], mean[1, 1:])
    assert found.total[2].abs().max() == 0


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(value: float) -> None:
    mean, mass = torch.full((2, 3, 3, 3), 0.5), torch.ones(3, 3, 3)
    mean[1, 0, 0, 0] = value
    found = put_away(mean, mass)
    assert not torch.isfinite(found[1].sum())
    torch.testing.assert_close(found[0], mean[0])


def test_sums_grow_as_windows_reach_further_into_a_cell() -> None:
    sums = Sums(torch.ones(2, 1, 2), torch.ones(1, 2))
    sums.add(torch.ones(2, 3, 1), torch.ones(3, 1))
    assert sums.mass.tolist() == [[2, 1], [1, 0], [1, 0]]
    assert sums.total[1].tolist() == [[2, 1], [1, 0], [1, 0]]


@pytest.mark.parametrize(("overlap", "worst"), [(0.0, 0.01), (0.5, 0.01), (0.75, 0.03)])
@pytest.mark.parametrize("shape", [(13, 9, 20), (19, 21, 17), (8, 8, 8), (5, 30, 11), (1, 30, 20)])
def test_the_classes_of_a_large_image_are_those_of_exact_means_away_from_ties(
    shape: tuple[int, ...], overlap: float, worst: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def network(batch: Tensor) -> Tensor:
        ramp = torch.linspace(-1, 1, batch[0, 0].numel()).reshape(batch.shape[2:])
        return 4 * torch.cat([batch, batch * ramp, ramp.expand_as(batch), -batch], 1)

    image = noise(1, *shape)
    exact = sliding_window(network, image, (8, 8, 8), overlap=overlap)
    monkeypatch.setattr(windows, "LARGE_BYTES", 0)
    found = sliding_window(network, image, (8, 8, 8), overlap=overlap)
    assert (found - exact).abs().max() < worst
    assert (found - exact).abs().mean() < worst / 10
    second, first = exact.sort(0).values[-2:]
    is_sure = first - second > 2 * worst
    assert is_sure.float().mean() > 0.9
    assert torch.equal(found.argmax(0)[is_sure], exact.argmax(0)[is_sure])


def test_masks_of_a_large_scan_that_is_resampled_are_those_of_exact_means_but_for_ties(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def network(batch: Tensor) -> Tensor:
        return 4 * torch.cat([batch, -batch, 0.3 * batch.flip(2)], 1)

    shape, target = (13, 30, 21), (17, 22, 40)
    image, masks = noise(1, *shape), []
    for large in (windows.LARGE_BYTES, 0):
        monkeypatch.setattr(windows, "LARGE_BYTES", large)
        out = np.zeros(target, np.uint8)
        blocks = ((block.box, block.scores.numpy()) for block in slide(network, image, (8, 8, 8), overlap=0.5))
        argmax_blocks(blocks, out, shape=shape, order=nesting(shape, (8, 8, 8)), coarse=None)
        masks.append(out)
    assert set(np.unique(masks[0])) == {0, 1, 2}
    assert (masks[0] == masks[1]).mean() > 0.99
