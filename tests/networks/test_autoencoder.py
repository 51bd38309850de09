import pytest
import torch

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import ConfigError
from pipeline.networks.autoencoder import Autoencoder, Code
from pipeline.networks.unet import UNet

PLAIN = NetworkConfig(features=(4, 8), skips=(False,), deep_supervision=0)


def config(**settings: object) -> AutoencoderConfig:
    return AutoencoderConfig.model_validate(settings)


def network(settings: AutoencoderConfig, stages: NetworkConfig = PLAIN, channels: int = 1) -> Autoencoder:
    torch.manual_seed(0)
    size = (8, 6, 4)[: stages.dimensions]
    return Autoencoder(stages, settings, channels=channels, patch_size=size)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({}, (2, 8, 4, 3, 2)),
        ({"code_channels": 3}, (2, 3, 4, 3, 2)),
        ({"code_size": 5}, (2, 5)),
        ({"code_size": 5, "code_channels": 2}, (2, 5)),
        ({"kind": "sparse", "code_channels": 16, "sparsity": {"weight": 1}}, (2, 16, 4, 3, 2)),
        ({"kind": "variational", "code_size": 5, "variational": {"beta": 1}}, (2, 5)),
        ({"kind": "variational", "variational": {"beta": 1}}, (2, 8, 4, 3, 2)),
    ],
)
def test_an_input_comes_back_in_its_own_size_through_a_code_of_the_configured_one(
    settings: dict[str, object], shape: tuple[int, ...]
) -> None:
    found = network(config(**settings), channels=2)(torch.randn(2, 2, 8, 6, 4))
    assert found.output.shape == (2, 2, 8, 6, 4)
    assert found.code.units.shape == shape
    assert (found.code.log_variance is None) == (settings.get("kind") != "variational")


def test_images_have_codes_too() -> None:
    stages = NetworkConfig(dimensions=2, features=(4, 8), skips=(False,), deep_supervision=0)
    found = network(config(code_size=7), stages)(torch.randn(3, 1, 8, 6))
    assert (found.output.shape, found.code.units.shape) == ((3, 1, 8, 6), (3, 7))


def test_a_first_stage_that_steps_is_brought_back_up() -> None:
    stages = NetworkConfig(
        features=(4, 8), strides=((2, 2, 2), (2, 1, 1)), skips=(False,), deep_supervision=0, norm="batch"
    )
    assert network(config(), stages)(torch.randn(1, 1, 8, 6, 4)).output.shape == (1, 1, 8, 6, 4)


def test_encoding_and_decoding_is_what_the_whole_does() -> None:
    net, x = network(config(code_size=5)).eval(), torch.randn(2, 1, 8, 6, 4)
    found = net(x)
    assert torch.equal(net.encode(x).units, found.code.units)
    assert torch.equal(net.decode(found.code.units), found.output)


def test_nothing_passes_beside_the_code() -> None:
    """Two inputs whose code is the same come back as the same."""
    net = network(config(code_size=1)).eval()
    torch.nn.init.zeros_(net.get_parameter("bottleneck.squeeze.2.weight"))
    one, other = torch.randn(1, 1, 8, 6, 4), torch.randn(1, 1, 8, 6, 4)
    assert torch.equal(net.encode(one).units, net.encode(other).units)
    assert torch.equal(net(one).output, net(other).output)


def test_a_denoising_network_may_have_skip_connections() -> None:
    stages = NetworkConfig(features=(4, 8), deep_supervision=0)
    noisy = config(kind="denoising", corruption={"noise": (0, 1)})
    net = network(noisy, stages)
    assert net.decoder[0].skip
    assert net(torch.randn(1, 1, 8, 6, 4)).output.shape == (1, 1, 8, 6, 4)


def test_a_residual_network_begins_as_the_identity() -> None:
    stages = NetworkConfig(features=(4, 8), deep_supervision=0)
    net = network(config(kind="denoising", residual=True, corruption={"noise": (0, 1)}), stages)
    x = torch.randn(2, 1, 8, 6, 4)
    assert torch.equal(net(x).output, x)


def test_a_variational_code_is_drawn_in_training_and_is_its_mean_otherwise() -> None:
    net, x = network(config(kind="variational", code_size=5, variational={"beta": 1})), torch.randn(2, 1, 8, 6, 4)
    torch.manual_seed(1)
    first = net(x).output
    torch.manual_seed(1)
    assert torch.equal(net(x).output, first)  # the seed decides
    assert not torch.equal(net(x).output, first)
    net.eval()
    assert torch.equal(net(x).output, net(x).output)
    assert torch.equal(net(x).output, net.decode(net(x).code.units))


def test_draws_have_the_mean_and_the_deviation_of_the_code() -> None:
    torch.manual_seed(0)
    code = Code(torch.full((20_000, 1), 3.0), torch.full((20_000, 1), 0.25).log())
    drawn = code.sampled()
    assert float(drawn.mean()) == pytest.approx(3.0, abs=0.02)
    assert float(drawn.std()) == pytest.approx(0.5, abs=0.02)


def test_a_sparse_code_is_never_negative_and_dropout_switches_units_off_in_training_alone() -> None:
    settings = config(kind="sparse", code_channels=16, sparsity={"dropout": 0.9})
    net, x = network(settings), torch.randn(2, 1, 8, 6, 4)
    assert float(net.encode(x).units.detach().min()) == 0
    assert not torch.equal(net(x).output, net(x).output)
    net.eval()
    assert torch.equal(net(x).output, net(x).output)


def test_the_stages_have_the_names_and_shapes_of_the_u_net_s() -> None:
    stages = NetworkConfig(features=(4, 8, 8), deep_supervision=0)
    unet = UNet(stages, channels=1, classes=3).state_dict()
    with_skips = network(
        config(kind="denoising", corruption={"noise": (0, 1)}), stages.model_copy(update={"features": (4, 8)})
    )
    small = UNet(stages.model_copy(update={"features": (4, 8)}), channels=1, classes=3).state_dict()
    shared = {name for name in small if not name.startswith("heads")}
    own = with_skips.state_dict()
    assert {name: tensor.shape for name, tensor in own.items() if name in shared} == {
        name: small[name].shape for name in shared
    }
    assert not any(name.startswith("heads") for name in own)
    assert any(name.startswith("encoder.2") for name in unet)


def test_without_skip_connections_only_what_joins_them_differs() -> None:
    unet = UNet(NetworkConfig(features=(4, 8), deep_supervision=0), channels=1, classes=3).state_dict()
    own = network(config()).state_dict()
    other_shape = [name for name in own if name in unet and own[name].shape != unet[name].shape]
    assert other_shape == ["decoder.0.blocks.0.0.weight"]


def test_a_patch_that_does_not_fit_is_refused_by_the_layer_that_it_does_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"7 voxels, which reach layer encoder\.1"):
        Autoencoder(PLAIN, config(), channels=1, patch_size=(7, 6, 4))
