"""Converted networks do what PyTorch's do; whatever ends the process that converts them is told."""

import sys
from pathlib import Path

import pytest
import torch

from pipeline.inference.backends import conversion
from pipeline.inference.backends.backend import TorchBackend
from pipeline.inference.backends.conversion import NETWORK, WEIGHTS, check_agreement, convert, make
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_model, core
from pipeline.inference.features import EncoderFeatures
from pipeline.inference.precision import Compute
from tests.inference.backends.conftest import MakeOrdered, Ordered

KINDS: list[dict[str, object]] = [
    {},
    {"norm": "group", "block": "residual"},  # OpenVINO 2026.4 crashes of its whole group normalisation here
    {"norm": "batch", "block": "inception", "upsampling": "interpolated", "activation": "gelu"},
    {"norm": "instance", "attention": True, "activation": "silu", "strides": [(2, 2, 2), (2, 2, 2)]},
    {"dimensions": 2, "norm": "none", "activation": "relu", "skips": (False,)},
]


def window_of(ordered: Ordered) -> torch.Tensor:
    return torch.randn(ordered[0].shape, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("settings", KINDS)
def test_a_converted_network_gives_the_logits_and_the_features_of_the_network(
    ordered: MakeOrdered, settings: dict[str, object]
) -> None:
    order, network = ordered(**settings)
    model = convert(network, order)
    assert check_agreement(network, model, order) < 1e-4
    backends = OpenVinoBackend(compile_model(model, "fp32", threads=1)), torch_backend(network)
    found = []
    for backend in backends:
        features = EncoderFeatures()
        with torch.inference_mode():
            logits = backend.logits(window_of((order, network)), features.see)
            alone = backend.features(window_of((order, network)))
        again = EncoderFeatures()
        again.see(alone)
        assert (again.values() == features.values()).all()
        found.append((logits, torch.from_numpy(features.values())))
    torch.testing.assert_close(*(logits for logits, _ in found), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(*(features for _, features in found), rtol=1e-3, atol=1e-4)


def torch_backend(network: torch.nn.Module) -> TorchBackend:
    return TorchBackend(network, Compute(torch.device("cpu"), "fp32"))


def test_a_network_of_other_weights_does_not_pass_for_it(ordered: MakeOrdered) -> None:
    order, network = ordered()
    _, other = ordered(seed=1)
    with pytest.raises(RuntimeError, match=r"logits differ from PyTorch's by \d"):
        check_agreement(other, convert(network, order), order)


def test_weights_that_are_not_finite_do_not_pass(ordered: MakeOrdered) -> None:
    order, network = ordered()
    torch.nn.init.constant_(next(network.parameters()), torch.nan)
    with pytest.raises(RuntimeError, match="differ from PyTorch's by nan"):
        check_agreement(network, convert(network, order), order)


def test_it_is_converted_in_a_process_of_its_own_which_leaves_the_network_alone(
    ordered: MakeOrdered, tmp_path: Path
) -> None:
    order, network = ordered()
    make(order, network, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [WEIGHTS, NETWORK]
    check_agreement(network, core().read_model(tmp_path / NETWORK), order)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("kill -SEGV $$", "the conversion was ended by SIGSEGV"),
        ("echo first >&2; echo 'RuntimeError: no such layer' >&2; exit 1", "^RuntimeError: no such layer$"),
        ("exit 3", "it ended with 3"),
        ("exec sleep 60", "no converted network after 1 s"),
    ],
)
def test_whatever_ends_that_process_is_an_error_here(
    ordered: MakeOrdered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(conversion, "DEADLINE_SECONDS", 1.0)
    with pytest.raises(RuntimeError, match=message):
        make(*ordered(), tmp_path)
