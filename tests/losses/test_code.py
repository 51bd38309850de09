import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from pipeline.losses.code import divergences, sparsity_loss, variational_loss


def test_the_divergence_is_that_of_two_normal_distributions() -> None:
    mean, log_variance = torch.tensor([[0.0, 1.0, -2.0]]), torch.tensor([[0.0, 0.5, -1.0]])
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0.0, 1.0))
    torch.testing.assert_close(divergences(mean, log_variance), expected)
    assert float(divergences(mean, log_variance)[0, 0]) == 0


def test_the_loss_is_the_sum_over_units_a_number_of_the_image() -> None:
    mean = torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    # (1 + 1) / 2 and (9 + 1) / 2 nats, whose mean is 3, for images of 6 numbers
    assert float(variational_loss(mean, torch.zeros_like(mean), 6)) == 0.5


def test_units_at_the_target_rate_cost_nothing_and_others_something() -> None:
    at_rate = -math.log(1 - 0.25)  # 1 - exp(-x) = 0.25
    assert float(sparsity_loss(torch.full((4, 3), at_rate), 0.25)) == pytest.approx(0, abs=1e-6)
    rates = [float(sparsity_loss(torch.full((4, 3), -math.log(1 - rate)), 0.25)) for rate in (0.3, 0.5, 0.9)]
    assert rates == sorted(rates)
    # KL(1/4 | 1/2) = 1/4 ln(1/2) + 3/4 ln(3/2)
    assert rates[1] == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5), abs=1e-5)


def test_the_rate_of_a_unit_is_taken_over_the_batch_and_all_places() -> None:
    always, half = torch.full((2, 1, 4), 50.0), torch.zeros(2, 1, 4)
    half[:, :, ::2] = 50.0
    found = float(sparsity_loss(torch.cat([always, half], 1), 0.5))
    full = float(sparsity_loss(always, 0.5))
    assert found == pytest.approx(full / 2, rel=1e-3)


def test_a_unit_that_is_never_or_always_active_has_a_finite_loss_and_gradient() -> None:
    units = torch.tensor([[0.0, 1e6]], requires_grad=True)
    loss = sparsity_loss(units, 0.05)
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert units.grad is not None
    assert bool(units.grad.isfinite().all())
