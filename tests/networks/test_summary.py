"""A network small enough to count by hand: 2D, a patch of 8 x 8, one channel, two classes.

encoder.0: 1 -> 2 channels at 8 x 8; encoder.1: 2 -> 3 at 4 x 4; decoder.0: up 3 -> 2, then 4 -> 2, at 8 x 8;
head: 2 -> 2.
"""

import pytest
import torch

from pipeline.config.autoencoder import AutoencoderConfig, VariationalConfig
from pipeline.config.blocks import BLOCKS
from pipeline.config.network import NetworkConfig
from pipeline.errors import ConfigError
from pipeline.networks.summary import Summary, summarise_autoencoder, summarise_unet
from pipeline.networks.unet import UNet

TINY = NetworkConfig(
    dimensions=2, features=(2, 3), encoder_convolutions=(1, 1), decoder_convolutions=(1,), deep_supervision=0
)


@pytest.fixture(scope="module")
def tiny() -> Summary:
    return summarise_unet(TINY, channels=1, classes=2, patch_size=(8, 8), batch_size=2)


def test_layers_are_listed_in_the_order_of_the_data(tiny: Summary) -> None:
    assert [(row.name, row.kind, row.shape, row.parameters) for row in tiny.layers] == [
        ("encoder.0.blocks.0.0", "Conv2d", (2, 8, 8), 1 * 2 * 9),
        ("encoder.0.blocks.0.1", "InstanceNorm", (2, 8, 8), 2 + 2),
        ("encoder.0.blocks.0.2", "LeakyReLU", (2, 8, 8), 0),
        ("encoder.1.blocks.0.0", "Conv2d", (3, 4, 4), 2 * 3 * 9),
        ("encoder.1.blocks.0.1", "InstanceNorm", (3, 4, 4), 3 + 3),
        ("encoder.1.blocks.0.2", "LeakyReLU", (3, 4, 4), 0),
        ("decoder.0.up.conv", "ConvTranspose2d", (2, 8, 8), 3 * 2 * 4 + 2),
        ("decoder.0.blocks.0.0", "Conv2d", (2, 8, 8), 4 * 2 * 9),
        ("decoder.0.blocks.0.1", "InstanceNorm", (2, 8, 8), 2 + 2),
        ("decoder.0.blocks.0.2", "LeakyReLU", (2, 8, 8), 0),
        ("heads.0", "Conv2d", (2, 8, 8), 2 * 2 + 2),
    ]


def test_parameters_are_those_of_all_layers(tiny: Summary) -> None:
    assert tiny.parameters == 18 + 4 + 54 + 6 + 26 + 72 + 4 + 6
    assert tiny.parameters == sum(p.numel() for p in UNet(TINY, 1, 2).parameters())


def test_the_receptive_field_is_that_of_the_bottleneck(tiny: Summary) -> None:
    assert tiny.receptive_field_voxels == (5, 5)  # 1 + 2 x 1 + 2 x 1: the step before the second layer is still 1


def test_a_multiplication_and_an_addition_count_for_each_weight_and_voxel(tiny: Summary) -> None:
    # 64 voxels at full size and 16 at half; the transposed convolution spreads each of its 16 input voxels
    assert tiny.gflop * 1e9 == pytest.approx(2 * (64 * 18 + 16 * 54 + 16 * 24 + 64 * 72 + 64 * 4))


def test_memory_is_four_bytes_for_each_activation_and_four_copies_of_the_weights(tiny: Summary) -> None:
    activations = 3 * 2 * 64 + 3 * 3 * 16 + 2 * 64 + 3 * 2 * 64 + 2 * 64
    assert tiny.training_gb * 1e9 == pytest.approx(4 * (2 * activations + 4 * 190))


def test_a_large_network_is_summarised_without_memory() -> None:
    config = NetworkConfig(features=(64, 128, 256, 512, 1024))
    summary = summarise_unet(config, channels=4, classes=10, patch_size=(512, 512, 512), batch_size=8)
    assert summary.layers[0].shape == (64, 512, 512, 512)
    assert summary.training_gb > 1000
    # the heads of deep supervision hold weights, but a prediction does not run them
    assert [row.name for row in summary.layers if row.name.startswith("heads")] == ["heads.0", "heads.1", "heads.2"]


def test_summarising_leaves_the_random_numbers_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    summarise_unet(TINY, channels=1, classes=2, patch_size=(8, 8), batch_size=1)
    torch.testing.assert_close(torch.rand(3), expected)


def test_an_autoencoder_is_listed_with_the_way_into_its_code_and_out_of_it() -> None:
    network = TINY.model_copy(update={"skips": (False,)})
    config = AutoencoderConfig(
        kind="variational", code_size=5, code_channels=2, variational=VariationalConfig(beta=1.0)
    )
    summary = summarise_autoencoder(network, config, channels=1, patch_size=(8, 8), batch_size=1)
    assert [(row.name, row.shape, row.parameters) for row in summary.layers if row.name.startswith("bottleneck")] == [
        ("bottleneck.squeeze.0", (2, 4, 4), 3 * 2 + 2),
        ("bottleneck.squeeze.1", (32,), 0),
        ("bottleneck.squeeze.2", (10,), 32 * 10 + 10),  # means and log-variances
        ("bottleneck.expand.0", (32,), 5 * 32 + 32),
        ("bottleneck.expand.1", (2, 4, 4), 0),
        ("bottleneck.expand.2", (3, 4, 4), 2 * 3 + 3),
    ]
    assert summary.layers[-1].shape == (1, 8, 8)
    assert summary.parameters == sum(row.parameters for row in summary.layers)


def summarise(**changes: object) -> Summary:
    config = NetworkConfig.model_validate(TINY.model_dump() | changes)
    return summarise_unet(config, channels=1, classes=2, patch_size=(8, 8), batch_size=2)


def test_a_residual_block_is_listed_as_the_layers_of_its_branches() -> None:
    rows = summarise(block="residual").layers
    assert [(row.name, row.kind, row.shape) for row in rows if row.name.startswith("encoder.1")] == [
        ("encoder.1.blocks.0.branches.main.0.0", "Conv2d", (3, 4, 4)),
        ("encoder.1.blocks.0.branches.main.0.1", "InstanceNorm", (3, 4, 4)),
        ("encoder.1.blocks.0.branches.main.0.2", "LeakyReLU", (3, 4, 4)),
        ("encoder.1.blocks.0.branches.main.1.0", "Conv2d", (3, 4, 4)),
        ("encoder.1.blocks.0.branches.main.1.1", "InstanceNorm", (3, 4, 4)),
        ("encoder.1.blocks.0.branches.shortcut.0", "Conv2d", (3, 4, 4)),
        ("encoder.1.blocks.0.branches.shortcut.1", "InstanceNorm", (3, 4, 4)),
        ("encoder.1.blocks.0.activation", "LeakyReLU", (3, 4, 4)),
    ]


def test_a_shortcut_without_layers_is_no_row() -> None:
    rows = summarise(block="residual", encoder_convolutions=(2, 1)).layers
    assert [row.kind for row in rows if row.name.startswith("encoder.0.blocks.1")] == [
        "Conv2d",
        "InstanceNorm",
        "LeakyReLU",
        "Conv2d",
        "InstanceNorm",
        "LeakyReLU",
    ]


def test_an_inception_block_is_listed_with_its_pooling() -> None:
    rows = summarise(block="inception", features=(8, 16)).layers
    convolutions = [row for row in rows if row.name.startswith("encoder.1") and row.kind in ("Conv2d", "MaxPool2d")]
    assert [(row.name.removeprefix("encoder.1.blocks.0.branches."), row.shape) for row in convolutions] == [
        ("point.0", (4, 4, 4)),
        ("middle.0.0", (6, 8, 8)),
        ("middle.1.0", (8, 4, 4)),
        ("wide.0.0", (1, 8, 8)),
        ("wide.1.0", (2, 4, 4)),
        ("pooled.0", (8, 4, 4)),
        ("pooled.1.0", (2, 4, 4)),
    ]


def test_an_attention_gate_is_listed_between_the_way_up_and_the_blocks() -> None:
    rows = summarise(attention=True).layers
    assert [(row.name, row.shape, row.parameters) for row in rows if row.name.startswith("decoder.0")][:5] == [
        ("decoder.0.up.conv", (2, 8, 8), 3 * 2 * 4 + 2),
        ("decoder.0.gate.of_skip", (1, 4, 4), 2 * 4),
        ("decoder.0.gate.of_gating", (1, 4, 4), 3 + 1),
        ("decoder.0.gate.activation", (1, 4, 4), 0),
        ("decoder.0.gate.psi", (1, 4, 4), 1 + 1),
    ]


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("block", list(BLOCKS))
def test_rows_are_layers_that_together_hold_every_parameter(block: str, attention: bool) -> None:
    summary = summarise(block=block, features=(8, 16), attention=attention)
    assert summary.parameters == sum(row.parameters for row in summary.layers)
    assert {row.kind for row in summary.layers} <= {
        "Conv2d",
        "ConvTranspose2d",
        "InstanceNorm",
        "LeakyReLU",
        "MaxPool2d",
        "ReLU",
    }


@pytest.mark.parametrize(
    ("block", "field"),
    [
        ("plain", 5),  # 1 + 2 + 2
        ("residual", 11),  # 1 + 2 + 2, then 2 and, at half the size, 2 x 2
        ("inception", 9),  # 1 + 4 + 4, by the kernels of 5
    ],
)
def test_the_receptive_field_is_that_of_the_kind_of_block(block: str, field: int) -> None:
    assert summarise(block=block, features=(8, 8)).receptive_field_voxels == (field, field)


def test_one_large_kernel_and_three_small_ones_have_one_receptive_field() -> None:
    large = summarise(kernels=((7, 7), (1, 1)))
    stacked = summarise(kernels=((3, 3), (1, 1)), encoder_convolutions=(3, 1))
    assert large.receptive_field_voxels == stacked.receptive_field_voxels == (7, 7)


@pytest.mark.parametrize("block", list(BLOCKS))
def test_a_patch_that_does_not_fit_is_refused(block: str) -> None:
    config = TINY.model_copy(update={"block": block, "features": (8, 16)})
    with pytest.raises(ConfigError, match=r"found 9 voxels, which reach layer encoder\.1\.blocks\.0 as 9"):
        summarise_unet(config, channels=1, classes=2, patch_size=(8, 9), batch_size=1)
