"""A window of one value is run once, and gives what running it again would give."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.inference.backends import background
from pipeline.inference.backends.backend import Observe, TorchBackend
from pipeline.inference.backends.background import BackgroundOnce, uniform_values
from pipeline.inference.features import EncoderFeatures
from pipeline.inference.precision import Compute
from tests.inference.backends.conftest import MakeRequested

SIDE = 32
"""Of whose first stage in 3D some voxels are taken."""


class Counted:
    """A backend that counts the windows it runs."""

    name = "torch"

    def __init__(self, backend: TorchBackend) -> None:
        self.backend, self.runs = backend, 0

    def logits(self, window: Tensor, observe: Observe | None = None) -> Tensor:
        self.runs += 1
        return self.backend.logits(window, observe)

    def features(self, window: Tensor) -> list[Tensor]:
        return self.backend.features(window)


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=[2, 3])
def counted(requested: MakeRequested, request: pytest.FixtureRequest) -> Counted:
    _, network = requested(dimensions=request.param, side=SIDE)
    return Counted(TorchBackend(network, Compute(torch.device("cpu"), "fp32")))


def window_of(counted: Counted, *values: float) -> Tensor:
    dimensions = 3 if any(isinstance(layer, torch.nn.Conv3d) for layer in counted.backend.network.modules()) else 2
    return torch.tensor(values, dtype=torch.float32).reshape(1, 2, *[1] * dimensions).repeat(1, 1, *[SIDE] * dimensions)


def seen_by(backend: Counted | BackgroundOnce, windows: list[Tensor]) -> tuple[list[Tensor], EncoderFeatures]:
    features = EncoderFeatures()
    return [backend.logits(window, features.see) for window in windows], features


def test_what_is_given_again_is_what_the_network_gives(counted: Counted) -> None:
    noise = torch.randn(window_of(counted, 0, 0).shape)
    windows = [window_of(counted, -1, 0.5), noise, window_of(counted, -1, 0.5), window_of(counted, -1, 0.5)]
    expected, theirs = seen_by(counted, windows)
    counted.runs = 0
    found, ours = seen_by(BackgroundOnce(counted), windows)
    assert counted.runs == 2
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    np.testing.assert_allclose(ours.values(), theirs.values(), rtol=1e-6)  # of a copy, sums round differently


def test_what_was_given_can_be_written_over(counted: Counted) -> None:
    backend, window = BackgroundOnce(counted), window_of(counted, 0, 0)
    first = backend.logits(window)
    kept = first.clone()
    first.zero_()
    again = backend.logits(window)
    assert torch.equal(again, kept)
    again.zero_()
    assert torch.equal(backend.logits(window), kept)


def test_another_value_is_run(counted: Counted) -> None:
    backend = BackgroundOnce(counted)
    found = [backend.logits(window_of(counted, *values)) for values in ((0, 1), (1, 0), (0, 1))]
    assert counted.runs == 3  # the last value alone is kept
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_of_too_many_classes_every_window_is_run(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "KEPT_BYTES", 1000)
    backend = BackgroundOnce(counted)
    for _ in range(2):
        backend.logits(window_of(counted, 0, 0))
    assert counted.runs == 2


def test_one_voxel_makes_a_window_what_it_is(counted: Counted) -> None:
    window = window_of(counted, 2, -3)
    assert uniform_values(window) == (2, -3)
    for place in (0, 1, 8, -1):  # the first, one that is not looked at first, one that is, the last
        other = window.clone()
        other.view(1, 2, -1)[0, 1, place] += 1e-6
        assert uniform_values(other) is None, place
    window.view(-1)[:] = torch.nan
    assert uniform_values(window) is None
