from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline import sizes
from pipeline.config.network import NetworkConfig
from pipeline.networks.unet import UNet

PLAIN = NetworkConfig(features=(4, 6, 8), deep_supervision=1)
CONFIGS = {
    "3D": (PLAIN, (8, 12, 16)),
    "2D": (NetworkConfig(dimensions=2, features=(4, 6, 8, 10), deep_supervision=2), (16, 24)),
    "per axis": (
        NetworkConfig(
            features=(4, 6, 8),
            kernels=((3, 3, 1), (3, 3, 3), (3, 3, 5)),
            strides=((1, 1, 1), (2, 2, 1), (2, 3, 2)),
            deep_supervision=1,
        ),
        (8, 12, 6),
    ),
    "convolutions": (
        NetworkConfig(
            features=(4, 6, 8), encoder_convolutions=(1, 2, 3), decoder_convolutions=(3, 1), deep_supervision=1
        ),
        (8, 8, 8),
    ),
    "max pooling": (PLAIN.model_copy(update={"downsampling": "max"}), (8, 8, 12)),
    "interpolated": (PLAIN.model_copy(update={"upsampling": "interpolated"}), (8, 8, 12)),
    "one skip": (NetworkConfig(features=(4, 6, 8), skips=(False, True), deep_supervision=1), (8, 8, 8)),
    "strided first stage": (
        NetworkConfig(features=(4, 6, 8), strides=((2, 2, 1), (2, 2, 2), (1, 2, 2)), deep_supervision=1),
        (8, 16, 8),
    ),
    "strided first stage, pooled and interpolated, 2D": (
        NetworkConfig(
            dimensions=2,
            features=(4, 6, 8),
            strides=((2, 2), (2, 1), (2, 2)),
            downsampling="max",
            upsampling="interpolated",
            deep_supervision=1,
        ),
        (16, 8),
    ),
    "batch norm, relu": (PLAIN.model_copy(update={"norm": "batch", "activation": "relu"}), (8, 8, 8)),
    "group norm, silu": (PLAIN.model_copy(update={"norm": "group", "activation": "silu"}), (8, 8, 8)),
    "residual": (NetworkConfig(block="residual", features=(4, 6, 8), deep_supervision=1), (8, 12, 16)),
    "residual, per axis, pooled, 2D": (
        NetworkConfig(
            dimensions=2,
            block="residual",
            features=(4, 6, 6),
            kernels=((3, 1), (3, 3), (5, 3)),
            strides=((1, 1), (2, 1), (3, 2)),
            encoder_convolutions=(1, 2, 3),
            downsampling="max",
            deep_supervision=1,
        ),
        (12, 8),
    ),
    "residual, strided first stage, no norm": (
        NetworkConfig(
            block="residual",
            features=(4, 4, 8),
            strides=((2, 2, 1), (2, 2, 2), (1, 2, 2)),
            norm="none",
            skips=(True, False),
            deep_supervision=1,
        ),
        (8, 16, 8),
    ),
    "inception": (NetworkConfig(block="inception", features=(8, 12, 16), deep_supervision=1), (8, 12, 16)),
    "inception, per axis, interpolated, 2D": (
        NetworkConfig(
            dimensions=2,
            block="inception",
            features=(8, 9, 20),
            kernels=((3, 1), (3, 3), (5, 3)),
            strides=((1, 1), (2, 1), (3, 2)),
            upsampling="interpolated",
            decoder_convolutions=(1, 2),
            deep_supervision=1,
        ),
        (12, 8),
    ),
    "inception, pooled, one skip": (
        NetworkConfig(
            block="inception", features=(8, 8, 16), downsampling="max", skips=(False, True), deep_supervision=1
        ),
        (16, 12, 12),
    ),
    "attention": (PLAIN.model_copy(update={"attention": True}), (8, 12, 16)),
    "attention, one skip, residual, per axis, 2D": (
        NetworkConfig(
            dimensions=2,
            block="residual",
            features=(4, 6, 8),
            strides=((2, 1), (2, 1), (3, 2)),
            skips=(True, False),
            attention=True,
            deep_supervision=1,
        ),
        (24, 8),
    ),
    "attention, inception, interpolated": (
        NetworkConfig(
            block="inception", features=(8, 8, 16), upsampling="interpolated", attention=True, deep_supervision=1
        ),
        (12, 12, 16),
    ),
    "no norm, gelu": (PLAIN.model_copy(update={"norm": "none", "activation": "gelu"}), (8, 8, 8)),
}
every_config = pytest.mark.parametrize(("config", "patch"), list(CONFIGS.values()), ids=list(CONFIGS))


def make(config: NetworkConfig, *, channels: int = 2, classes: int = 3) -> UNet:
    torch.manual_seed(0)
    return UNet(config, channels, classes)


def batch(patch: tuple[int, ...]) -> Tensor:
    return torch.randn(2, 2, *patch, generator=torch.Generator().manual_seed(1))


def stage_sizes(config: NetworkConfig, patch: tuple[int, ...]) -> list[tuple[int, ...]]:
    """What `sizes.trace` says of the last layer of each encoder stage."""
    windows = config.encoder_windows()
    traced = dict(zip((window.name for window in windows), sizes.trace(patch, windows), strict=True))
    last = [count - 1 for count in config.stage_encoder_convolutions()]
    return [traced[f"encoder.{stage}.blocks.{index}"] for stage, index in enumerate(last)]


@every_config
def test_every_stage_has_the_size_that_was_traced(config: NetworkConfig, patch: tuple[int, ...]) -> None:
    network = make(config)
    seen: list[tuple[int, ...]] = []
    for stage in network.encoder:
        stage.register_forward_hook(lambda _layer, _inputs, output: seen.append(tuple(output.shape)))
    logits = network.train()(batch(patch))
    expected = stage_sizes(config, patch)
    assert seen == [(2, width, *size) for width, size in zip(config.features, expected, strict=True)]
    supervised = [patch, *expected[1 : 1 + config.deep_supervision]]
    assert [tuple(each.shape) for each in logits] == [(2, 3, *size) for size in supervised]


@every_config
def test_every_layer_that_was_traced_is_there_under_its_name(config: NetworkConfig, patch: tuple[int, ...]) -> None:
    network = make(config)
    seen: dict[str, tuple[int, ...]] = {}
    for name, layer in network.encoder.named_modules(prefix="encoder"):
        layer.register_forward_hook(lambda _layer, _inputs, out, name=name: seen.update({name: tuple(out.shape[2:])}))
    network(batch(patch))
    windows = config.encoder_windows()
    for window, size in zip(windows, sizes.trace(patch, windows), strict=True):
        assert seen[window.name] == size, window.name


@every_config
def test_every_parameter_receives_a_gradient(config: NetworkConfig, patch: tuple[int, ...]) -> None:
    network = make(config).train()
    torch.stack([(each**2).mean() for each in network(batch(patch))]).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@every_config
def test_evaluation_gives_the_finest_logits_alone(config: NetworkConfig, patch: tuple[int, ...]) -> None:
    network, x = make(config), batch(patch)
    (finest,) = network.eval()(x)
    assert finest.shape == (2, 3, *patch)
    trained = network.train()(x)
    assert len(trained) == 1 + config.deep_supervision
    if config.norm != "batch":
        torch.testing.assert_close(finest, trained[0])


def test_convolutions_have_the_kernels_and_steps_of_their_stage() -> None:
    config, _ = CONFIGS["per axis"]
    network = make(config)
    for stage, (kernel, stride) in enumerate(zip(config.stage_kernels(), config.stage_strides(), strict=True)):
        first, second = (network.encoder.get_submodule(f"{stage}.blocks.{index}.0") for index in (0, 1))
        assert isinstance(first, nn.Conv3d)
        assert isinstance(second, nn.Conv3d)
        assert (first.kernel_size, first.stride) == (kernel, stride)
        assert (second.kernel_size, second.stride) == (kernel, (1, 1, 1))


def test_each_stage_has_as_many_convolutions_as_configured() -> None:
    config, _ = CONFIGS["convolutions"]
    network = make(config)
    assert [len(list(network.encoder.get_submodule(f"{stage}.blocks").children())) for stage in range(3)] == [1, 2, 3]
    assert [len(list(network.decoder.get_submodule(f"{stage}.blocks").children())) for stage in range(2)] == [3, 1]


def test_max_pooling_takes_the_step_from_the_convolution() -> None:
    network = make(CONFIGS["max pooling"][0])
    assert isinstance(network.encoder.get_submodule("0.pool"), nn.Identity)
    assert isinstance(network.encoder.get_submodule("1.pool"), nn.MaxPool3d)
    convolution = network.encoder.get_submodule("1.blocks.0.0")
    assert isinstance(convolution, nn.Conv3d)
    assert convolution.stride == (1, 1, 1)


def test_a_skip_that_is_left_out_halves_what_the_decoder_stage_takes_in() -> None:
    network = make(CONFIGS["one skip"][0])
    widths = [network.decoder.get_parameter(f"{stage}.blocks.0.0.weight").shape[1] for stage in (0, 1)]
    assert widths == [4, 2 * 6]


def test_convolutions_have_a_bias_only_without_a_norm_that_has_one() -> None:
    assert make(PLAIN).encoder.get_submodule("0.blocks.0.0").bias is None
    assert make(CONFIGS["no norm, gelu"][0]).encoder.get_submodule("0.blocks.0.0").bias is not None


def test_the_logits_depend_on_the_patch_alone_and_not_on_the_batch() -> None:
    network, x = make(PLAIN).eval(), batch((8, 8, 8))
    torch.testing.assert_close(network(x)[0][1:], network(x[1:])[0])


@every_config
def test_half_precision_gives_finite_logits(config: NetworkConfig, patch: tuple[int, ...]) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        logits = make(config)(batch(patch))
    assert all(each.isfinite().all() for each in logits)


def test_the_plain_network_has_the_names_and_the_first_weights_that_models_were_saved_with() -> None:
    torch.manual_seed(0)
    network = UNet(NetworkConfig(), 1, 2)
    block = ["0.weight", "1.weight", "1.bias"]
    down = [f"encoder.{stage}.blocks.{index}.{name}" for stage in range(4) for index in range(2) for name in block]
    blocks = [f"blocks.{index}.{name}" for index in range(2) for name in block]
    up = [f"decoder.{stage}.{name}" for stage in range(3) for name in ["up.conv.weight", "up.conv.bias", *blocks]]
    heads = [f"heads.{stage}.{name}" for stage in range(3) for name in ("weight", "bias")]
    weights = network.state_dict()
    assert list(weights) == [*down, *up, *heads]
    assert sum(p.numel() for p in network.parameters()) == 5_601_542
    first = {
        "encoder.0.blocks.0.0.weight": [0.231925085, -0.084978715, -0.002805315],
        "encoder.3.blocks.1.0.weight": [0.001863707, 0.016233496, -0.049456507],
        "decoder.2.up.conv.weight": [-0.011788907, 0.005758049, 0.043516003],
        "decoder.0.blocks.1.0.weight": [0.034776982, -0.019295169, 0.013266309],
        "heads.2.weight": [-0.005200999, -0.070977017, -0.249505013],
    }
    assert {name: weights[name].flatten()[:3].tolist() for name in first} == {
        name: pytest.approx(values, rel=1e-4) for name, values in first.items()
    }


def test_the_plain_network_s_logits_are_those_of_the_models_that_were_saved() -> None:
    torch.manual_seed(0)
    logits = UNet(NetworkConfig(), 1, 2)(torch.linspace(-1, 1, 16**3).reshape(1, 1, 16, 16, 16))
    ends = [each.flatten()[index].item() for each in logits for index in (0, -1)]
    assert ends == pytest.approx([0.357909, 0.972378, -0.252858, -0.286586, 0.459069, -0.492358], abs=1e-4)


def test_a_gate_is_there_for_each_skip_and_for_nothing_else() -> None:
    gates = {name for name, _ in make(CONFIGS["attention"][0]).named_modules() if name.endswith("gate")}
    assert gates == {"decoder.0.gate", "decoder.1.gate"}
    one = CONFIGS["attention, one skip, residual, per axis, 2D"][0]
    assert {name for name, _ in make(one).named_modules() if name.endswith("gate")} == {"decoder.0.gate"}


def test_a_gate_that_is_shut_leaves_nothing_of_the_skip() -> None:
    config = CONFIGS["attention"][0]
    network, x = make(config), torch.randn(1, 4, 8, 8, 8)
    stage, coarser = network.decoder[0], torch.randn(1, 6, 4, 4, 4)
    with torch.no_grad():
        network.decoder.get_parameter("0.gate.psi.weight").zero_()
        network.decoder.get_parameter("0.gate.psi.bias").fill_(-100)
    torch.testing.assert_close(stage(coarser, x), stage(coarser, torch.zeros_like(x)))


@pytest.mark.parametrize("block", ["plain", "residual", "inception"])
@pytest.mark.parametrize("downsampling", ["strided", "max"])
def test_a_voxel_of_the_bottleneck_sees_the_receptive_field(downsampling: str, block: str) -> None:
    config = NetworkConfig.model_validate(
        {
            "dimensions": 2,
            "block": block,
            "features": (8, 8, 8),
            "kernels": ((3, 3), (3, 5), (3, 1)),
            "strides": ((1, 1), (2, 1), (2, 2)),
            "downsampling": downsampling,
            "norm": "none",
            "activation": "silu",
            "deep_supervision": 0,
        }
    )
    network = UNet(config, 1, 2).double()
    for name, parameter in network.named_parameters():
        (nn.init.ones_ if name.endswith("weight") else nn.init.zeros_)(parameter)  # nothing cancels, nothing is cut off
    x = torch.rand(1, 1, 64, 64, dtype=torch.float64, requires_grad=True)
    y: Tensor = x
    for stage in network.encoder:
        y = stage(y)
    y[0, :, y.shape[2] // 2, y.shape[3] // 2].sum().backward()
    assert x.grad is not None
    reached = x.grad[0, 0] != 0
    extent = tuple(
        int(reached.any(1 - axis).nonzero().max() - reached.any(1 - axis).nonzero().min()) + 1 for axis in (0, 1)
    )
    field = sizes.receptive_field(config.encoder_windows())
    if downsampling == "strided":
        assert extent == field
    else:  # only the largest voxel of a pooling window passes a gradient
        assert all(reach <= whole for reach, whole in zip(extent, field, strict=True))


def test_one_large_kernel_reaches_as_far_as_three_small_ones() -> None:
    """Scan, one stage at full size, and one behind a pooling; 1 + 6 there, + 1 for the pooling, + 6 x 2 below it."""
    shape: dict[str, Any] = {"dimensions": 2, "features": (4, 8), "downsampling": "max", "deep_supervision": 0}
    large = NetworkConfig(kernels=((7, 7), (7, 7)), encoder_convolutions=(1, 1), **shape)
    stacked = NetworkConfig(kernels=((3, 3), (3, 3)), encoder_convolutions=(3, 3), **shape)
    fields = [sizes.receptive_field(config.encoder_windows()) for config in (large, stacked)]
    assert fields == [(20, 20), (20, 20)]
    weights = [sum(p.numel() for p in make(config).encoder.parameters() if p.ndim > 1) for config in (large, stacked)]
    assert weights == [49 * (2 * 4 + 4 * 8), 9 * (2 * 4 + 2 * 4 * 4) + 9 * (4 * 8 + 2 * 8 * 8)]


def test_where_the_first_convolution_steps_the_small_ones_behind_it_reach_further() -> None:
    shape: dict[str, Any] = {"dimensions": 2, "features": (4, 8), "deep_supervision": 0}
    large = NetworkConfig(kernels=((1, 1), (7, 7)), encoder_convolutions=(1, 1), **shape)
    stacked = NetworkConfig(kernels=((1, 1), (3, 3)), encoder_convolutions=(1, 3), **shape)
    fields = [sizes.receptive_field(config.encoder_windows()) for config in (large, stacked)]
    assert fields == [(7, 7), (11, 11)]  # 1 + 6; 1 + 2 + 4 + 4


def test_stages_halve_by_default() -> None:
    halved = [
        tuple(a // b for a, b in zip(fine, coarse, strict=True))
        for fine, coarse in pairwise(stage_sizes(PLAIN, (16, 8, 8)))
    ]
    assert halved == [(2, 2, 2), (2, 2, 2)]
