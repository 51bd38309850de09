import copy

import pytest
import torch

from pipeline.inference.coarse import new_autoencoder
from pipeline.networks.small_inputs import SmallConv3d, use_for_small_inputs


@pytest.mark.parametrize("kind", ["denoising", "variational"])
def test_network_gives_the_same_and_keeps_the_names_of_its_weights(kind: str) -> None:
    torch.manual_seed(0)
    network = new_autoencoder(kind, channels=2, dimensions=3).eval()
    quick, volume = copy.deepcopy(network), torch.randn(1, 2, 32, 32, 32)
    use_for_small_inputs(quick)
    with torch.inference_mode():
        torch.testing.assert_close(quick(volume).output, network(volume).output, rtol=1e-4, atol=1e-4)
    weights = network.state_dict()
    assert quick.state_dict().keys() == weights.keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in quick.state_dict().items())


def test_every_convolution_of_volumes_is_replaced() -> None:
    network = new_autoencoder("denoising", channels=1, dimensions=3)
    convolutions = [name for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv3d)]
    use_for_small_inputs(network)
    assert convolutions
    assert convolutions == [name for name, layer in network.named_modules() if isinstance(layer, SmallConv3d)]


def test_without_onednn_a_network_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    use_for_small_inputs(network)
    assert isinstance(network[0], torch.nn.Conv3d)


def test_convolutions_of_images_stay() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    use_for_small_inputs(network)
    assert isinstance(network[0], torch.nn.Conv2d)
