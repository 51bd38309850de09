import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.blocks import BLOCKS, Place, block_window
from pipeline.networks.blocks import (
    BlockStyle,
    GroupNorm,
    InstanceNorm,
    Upsample,
    initialise,
    make_activation,
    make_block,
    make_norm,
)
from pipeline.sizes import output_size


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
    layer = GroupNorm(channels)
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


def random_batch(channels: int, size: tuple[int, ...]) -> Tensor:
    return torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))


def block_of(kind: str, place: Place, *, norm: str = "instance", activation: str = "leaky_relu") -> nn.Module:
    torch.manual_seed(0)
    return make_block(place, BlockStyle(len(place.kernel), kind, norm, activation))


PLACES = {
    "2D": (Place(8, 8, (3, 3), (1, 1)), (6, 5)),
    "2D, wider": (Place(3, 9, (3, 3), (1, 1)), (5, 4)),
    "2D, stepping": (Place(8, 12, (3, 3), (2, 2)), (8, 6)),
    "2D, per axis": (Place(8, 16, (1, 5), (3, 1)), (9, 8)),
    "3D": (Place(8, 8, (3, 3, 3), (1, 1, 1)), (4, 5, 6)),
    "3D, stepping": (Place(2, 10, (3, 3, 3), (2, 2, 2)), (4, 6, 8)),
    "3D, per axis": (Place(8, 8, (1, 3, 7), (1, 2, 3)), (5, 6, 9)),
    "3D, one voxel": (Place(4, 8, (1, 1, 1), (2, 1, 1)), (6, 4, 3)),
}
SQUARE = Place(8, 16, (3, 3), (1, 1))
every_kind = pytest.mark.parametrize("kind", list(BLOCKS))
every_place = pytest.mark.parametrize(("place", "size"), list(PLACES.values()), ids=list(PLACES))


@every_kind
@every_place
def test_a_block_gives_its_channels_and_only_its_step_changes_the_size(
    kind: str, place: Place, size: tuple[int, ...]
) -> None:
    y = block_of(kind, place)(random_batch(place.channels_in, size))
    assert y.shape == (2, place.channels_out, *(n // step for n, step in zip(size, place.stride, strict=True)))


@every_kind
@every_place
def test_a_block_steps_over_sizes_that_its_stride_does_not_divide_as_its_window_does(
    kind: str, place: Place, size: tuple[int, ...]
) -> None:
    odd = tuple(n + 1 for n in size)
    window = block_window("block", kind, place)
    expected = tuple(
        output_size(n, kernel=k, stride=s, padding=p)
        for n, k, s, p in zip(odd, window.kernel, window.stride, window.padding, strict=True)
    )
    assert block_of(kind, place)(random_batch(place.channels_in, odd)).shape[2:] == expected


@every_kind
@every_place
def test_every_parameter_of_a_block_receives_a_gradient_and_the_input_keeps_its_values(
    kind: str, place: Place, size: tuple[int, ...]
) -> None:
    block, x = block_of(kind, place), random_batch(place.channels_in, size)
    before = x.clone()
    (block(x) ** 3).sum().backward()
    assert [name for name, p in block.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert torch.equal(x, before)


@every_kind
@pytest.mark.parametrize(
    "place", [Place(8, 8, (3, 1), (1, 1)), Place(4, 8, (3, 1, 5), (1, 1, 1)), Place(4, 8, (5, 1, 3), (2, 1, 2))]
)
def test_voxels_stay_apart_along_an_axis_whose_kernel_is_one(kind: str, place: Place) -> None:
    block = block_of(kind, place, norm="none")
    x = random_batch(place.channels_in, (6,) * len(place.kernel))
    changed = x.clone()
    changed[:, :, :, 2] += 1  # axis 1
    differs = (block(x) != block(changed)).movedim(3, 0).flatten(1).any(1)
    assert differs.tolist() == [False, False, True, False, False, False]


@every_kind
@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
def test_a_block_takes_every_norm(kind: str, norm: str) -> None:
    assert block_of(kind, SQUARE, norm=norm)(random_batch(8, (6, 6))).isfinite().all()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("plain", 9 * 8 * 16 + 2 * 16),
        ("residual", (9 * 8 * 16 + 2 * 16) + (9 * 16 * 16 + 2 * 16) + (8 * 16 + 2 * 16)),
        (
            "inception",
            (8 * 4 + 2 * 4)  # 1
            + ((8 * 6 + 2 * 6) + (9 * 6 * 8 + 2 * 8))  # 3 behind a reduction
            + ((8 * 1 + 2 * 1) + (25 * 1 * 2 + 2 * 2))  # 5 behind a reduction
            + (8 * 2 + 2 * 2),  # behind the pooling
        ),
    ],
)
def test_a_block_has_as_many_parameters_as_are_counted_by_hand(kind: str, expected: int) -> None:
    """8 to 16 channels in 2D: weights of the convolutions, and a scale and a shift of each normalised channel."""
    assert sum(p.numel() for p in block_of(kind, SQUARE).parameters()) == expected


@pytest.mark.parametrize(
    "place", [Place(4, 4, (3, 3, 3), (1, 1, 1)), Place(4, 6, (3, 3, 3), (1, 1, 1)), Place(4, 6, (3, 1, 3), (2, 1, 2))]
)
def test_a_residual_block_is_the_activated_sum_of_two_convolutions_and_its_shortcut(place: Place) -> None:
    block, x = block_of("residual", place, activation="relu"), random_batch(4, (4, 4, 4))
    weights = {name: p for name, p in block.named_parameters() if p.ndim == 5}
    half = tuple(k // 2 for k in place.kernel)

    def convolve(x: Tensor, name: str, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor:
        return functional.instance_norm(functional.conv3d(x, weights[name], None, stride, padding))

    main = convolve(x, "branches.main.0.0.weight", place.stride, half).relu()
    main = convolve(main, "branches.main.1.0.weight", (1, 1, 1), half)
    same = place.channels_out == 4
    shortcut = x if same else convolve(x, "branches.shortcut.0.weight", place.stride, (0, 0, 0))
    torch.testing.assert_close(block(x), (main + shortcut).relu())


@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_an_inception_block_puts_its_branches_channels_behind_each_other(stride: tuple[int, ...]) -> None:
    block, x = block_of("inception", replace(SQUARE, stride=stride), norm="none"), random_batch(8, (6, 6))
    w = dict(block.named_parameters(prefix="w"))

    def convolve(x: Tensor, name: str, *, half: int = 0, step: tuple[int, ...] = (1, 1)) -> Tensor:
        weight, bias = w[f"w.branches.{name}.weight"], w[f"w.branches.{name}.bias"]
        return functional.leaky_relu(functional.conv2d(x, weight, bias, step, half), 0.01)

    pooled = functional.max_pool2d(x, (3, 3), stride, 1)
    expected = [
        convolve(x, "point.0", step=stride),
        convolve(convolve(x, "middle.0.0"), "middle.1.0", half=1, step=stride),
        convolve(convolve(x, "wide.0.0"), "wide.1.0", half=2, step=stride),
        convolve(pooled, "pooled.1.0"),
    ]
    torch.testing.assert_close(block(x), torch.cat(expected, 1))
