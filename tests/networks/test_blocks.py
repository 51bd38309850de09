import math

import pytest
import torch
from torch import nn

from pipeline.networks.blocks import InstanceNorm, Upsample, group_norm, initialise, make_activation, make_norm


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_instance_norm_is_torch_s_own_forward_and_backward(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours, reference = InstanceNorm(5), nn.InstanceNorm3d(5, affine=True)
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2.0)
        ours.bias.uniform_(-1.0, 1.0)
    reference.load_state_dict(ours.state_dict())
    values, seen = 3 * torch.randn(2, 5, 4, 6, 3) + 7, torch.randn(2, 5, 4, 6, 3)
    gradients = []
    for layer in (ours, reference):
        x = values.clone().to(memory_format=layout).requires_grad_()
        y = layer(x)
        (y * seen).sum().backward()
        assert x.grad is not None
        gradients.append((y, x.grad, layer.weight.grad, layer.bias.grad))
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)


def test_instance_norm_keeps_the_channels_last_layout() -> None:
    x = torch.randn(2, 4, 3, 5, 6).to(memory_format=torch.channels_last_3d)
    assert InstanceNorm(4)(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_instance_norm_is_the_same_in_evaluation() -> None:
    x, layer = torch.randn(2, 3, 4, 4), InstanceNorm(3)
    torch.testing.assert_close(layer.train()(x), layer.eval()(x))


def test_an_image_is_normalised_apart_from_the_others_of_its_batch() -> None:
    one, other = torch.randn(1, 3, 4, 4), 100 * torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(InstanceNorm(3)(torch.cat([one, other]))[:1], InstanceNorm(3)(one))


@pytest.mark.parametrize(("channels", "groups"), [(8, 1), (32, 4), (20, 2), (7, 1), (3, 1), (36, 4)])
def test_groups_hold_about_eight_channels_and_divide_them(channels: int, groups: int) -> None:
    layer = group_norm(channels)
    assert isinstance(layer, nn.GroupNorm)
    assert layer.num_groups == groups


def test_norms_and_activations_are_chosen_by_name() -> None:
    assert isinstance(make_norm("batch", 4, 2), nn.BatchNorm2d)
    assert isinstance(make_norm("batch", 4, 3), nn.BatchNorm3d)
    assert isinstance(make_norm("instance", 4, 3), InstanceNorm)
    assert isinstance(make_norm("group", 4, 3), nn.GroupNorm)
    assert isinstance(make_norm("none", 4, 3), nn.Identity)
    x = torch.tensor([-1.0, 2.0])
    assert make_activation("leaky_relu")(x.clone()).tolist() == pytest.approx([-0.01, 2.0])
    assert make_activation("relu")(x.clone()).tolist() == [0.0, 2.0]
    torch.testing.assert_close(make_activation("silu")(x.clone()), x * torch.sigmoid(x))
    # x Phi(x), with the normal distribution's Phi(-1) = 0.158655 and Phi(2) = 0.977250
    assert make_activation("gelu")(x).tolist() == pytest.approx([-0.158655, 1.954500], abs=1e-5)


def test_interpolation_keeps_the_middle_of_the_volume_in_the_middle() -> None:
    up = Upsample(1, 1, (1, 2), transposed=False, dimensions=2)
    nn.init.ones_(up.conv.get_parameter("weight"))
    nn.init.zeros_(up.conv.get_parameter("bias"))
    # output j lies at (j + 1/2)/2 - 1/2 = -0.25, 0.25, 0.75, 1.25; the ends are held
    assert up(torch.tensor([[[[0.0, 4.0]]]])).tolist() == [[[[0.0, 1.0, 3.0, 4.0]]]]


def test_a_transposed_convolution_spreads_each_voxel_over_its_own_window() -> None:
    up = Upsample(1, 1, (1, 3), transposed=True, dimensions=2)
    with torch.no_grad():
        up.conv.get_parameter("weight").copy_(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
        up.conv.get_parameter("bias").zero_()
    assert up(torch.tensor([[[[1.0, 10.0]]]])).tolist() == [[[[1.0, 2.0, 3.0, 10.0, 20.0, 30.0]]]]


def test_weights_start_normal_with_he_s_deviation_and_biases_at_zero() -> None:
    torch.manual_seed(0)
    layer = nn.Conv3d(16, 64, 3)
    initialise(layer)
    # gain sqrt(2 / (1 + 0.01^2)) over the root of the fan-in 16 x 27
    assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 1.0001 / (16 * 27)), rel=0.02)
    assert layer.weight.mean().item() == pytest.approx(0.0, abs=2e-3)
    assert layer.bias is not None
    assert not layer.bias.any()
