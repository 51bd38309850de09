from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.attentionunet import AttentionBlock
from torch import Tensor, nn

from pipeline.networks.attention import AttentionGate
from pipeline.networks.blocks import initialise


def gate_of(channels: int, gating: int, stride: tuple[int, ...]) -> AttentionGate:
    torch.manual_seed(0)
    gate = AttentionGate(channels, gating, stride, dimensions=len(stride))
    gate.apply(initialise)
    for name, parameter in gate.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)  # they start at zero, where a mistake would not show
    return gate


def features(channels: int, size: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(seed))


def enlarged(coarse: Any, axis: int, factor: int) -> Any:
    """Linear interpolation: fine voxel j lies at (j + 1/2)/factor - 1/2 of the coarse ones; the ends are held."""
    size = coarse.shape[axis]
    places = (np.arange(size * factor) + 0.5) / factor - 0.5
    return np.apply_along_axis(lambda line: np.interp(places, np.arange(size), line), axis, coarse)


def by_the_paper(x: Any, g: Any, gate: AttentionGate) -> Any:
    """Oktay et al. 2018, eq. 1 and 2, in numpy; channels last in the sums, a voxel at a time."""
    w = {name: parameter.detach().double().numpy() for name, parameter in gate.named_parameters()}
    alpha = np.empty((len(x), 1, *g.shape[2:]))
    for voxel in np.ndindex(*g.shape[2:]):
        window = tuple(slice(i * step, (i + 1) * step) for i, step in zip(voxel, gate.stride, strict=True))
        axes = [1, *range(2, x.ndim)]
        of_x = np.tensordot(x[(slice(None), slice(None), *window)], w["of_skip.weight"], axes=(axes, axes))
        of_g = g[(slice(None), slice(None), *voxel)] @ w["of_gating.weight"].reshape(*w["of_gating.weight"].shape[:2]).T
        q = np.maximum(of_x + of_g + w["of_gating.bias"], 0) @ w["psi.weight"].reshape(-1) + w["psi.bias"]
        alpha[(slice(None), 0, *voxel)] = 1 / (1 + np.exp(-q))
    for axis, step in enumerate(gate.stride):
        alpha = enlarged(alpha, 2 + axis, step)
    return x * alpha


@pytest.mark.parametrize(
    ("stride", "size"), [((2, 2), (6, 4)), ((1, 3), (3, 6)), ((2, 2, 2), (4, 4, 6)), ((1, 2, 3), (2, 4, 6))]
)
def test_the_gate_is_that_of_the_paper(stride: tuple[int, ...], size: tuple[int, ...]) -> None:
    gate = gate_of(6, 10, stride)
    x, g = features(6, size), features(10, tuple(n // step for n, step in zip(size, stride, strict=True)), seed=1)
    expected = by_the_paper(x.double().numpy(), g.double().numpy(), gate)
    torch.testing.assert_close(gate(x, g), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_at_one_resolution_it_is_monai_s_with_norms_that_change_nothing(dimensions: int) -> None:
    gate = gate_of(6, 10, (1,) * dimensions)
    reference = AttentionBlock(dimensions, f_int=3, f_g=10, f_l=6).eval()
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            if ".conv." in name:
                layer, _, kind = name.partition(".0.conv.")
                own = {"W_x": gate.of_skip, "W_g": gate.of_gating, "psi": gate.psi}[layer]
                parameter.copy_(dict(own.named_parameters()).get(kind, torch.zeros(3)))  # theirs has one bias more
    x, g = features(6, (4,) * dimensions), features(10, (4,) * dimensions, seed=1)
    # at the start a batch norm in evaluation divides by the root of 1 + 1e-5
    torch.testing.assert_close(gate(x, g), reference(g=g, x=x), rtol=1e-3, atol=1e-4)


def test_every_voxel_keeps_a_share_of_itself_that_all_its_channels_have_in_common() -> None:
    x, g = features(4, (6, 4)), features(8, (3, 2), seed=1)
    shares = gate_of(4, 8, (2, 2))(x, g) / x
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(shares, shares[:, :1].expand_as(shares))


def test_every_parameter_receives_a_gradient() -> None:
    gate, x = gate_of(4, 8, (2, 2, 2)), features(4, (4, 4, 4))
    (gate(x, features(8, (2, 2, 2), seed=1)) ** 2).sum().backward()
    assert [name for name, p in gate.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_its_parameters_counted_by_hand() -> None:
    # to 3 channels: 6 a voxel of the 2 x 3 windows; 10 of the gating signal and a bias; psi and its bias
    assert sum(p.numel() for p in gate_of(6, 10, (2, 3)).parameters()) == 3 * 6 * 2 * 3 + (3 * 10 + 3) + (3 + 1)


def test_a_skip_of_one_channel_has_a_gate_as_well() -> None:
    assert gate_of(1, 2, (2, 2))(features(1, (4, 4)), features(2, (2, 2))).shape == (2, 1, 4, 4)
