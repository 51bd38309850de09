"""Converted networks do what PyTorch's do; whatever ends the process that converts them is told."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.inference.backends import conversion
from pipeline.inference.backends.backend import Backend, TorchBackend
from pipeline.inference.backends.conversion import check_agreement, convert, convert_apart, key_of
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_network
from pipeline.inference.features import MOST_VOXELS, EncoderFeatures
from pipeline.inference.precision import Compute, native_precisions
from tests.inference.backends.conftest import MakeRequested

KINDS: list[dict[str, object]] = [
    {"side": 32},  # of whose first stage some voxels are taken
    {"norm": "group", "block": "residual"},  # OpenVINO 2026.4 crashes on PyTorch's group normalisation here
    {"norm": "batch", "block": "inception", "upsampling": "interpolated", "activation": "gelu"},
    {"norm": "instance", "attention": True, "activation": "silu", "strides": [(2, 2, 2), (2, 2, 2)]},
    {"dimensions": 2, "norm": "none", "activation": "relu", "skips": (False,)},
]


@pytest.mark.parametrize("settings", KINDS)
def test_a_converted_network_gives_the_logits_and_the_features_of_the_network(
    requested: MakeRequested, tmp_path: Path, settings: dict[str, object]
) -> None:
    request, network = requested(**settings)
    converted = convert(network, request, tmp_path)
    assert check_agreement(network, converted, request) < 1e-4
    ours: Backend = OpenVinoBackend(compile_network(converted, "fp32", threads=1))
    theirs: Backend = TorchBackend(network, Compute(torch.device("cpu"), "fp32"))
    window = torch.randn(request.shape, generator=torch.Generator().manual_seed(7))
    found = []
    for backend in (ours, theirs):
        seen, again = EncoderFeatures(), EncoderFeatures()
        with torch.inference_mode():
            logits = backend.logits(window, seen.see)
            again.see(backend.features(window))
        assert (again.values() == seen.values()).all()
        found.append((logits, torch.from_numpy(seen.values())))
    torch.testing.assert_close(*(logits for logits, _ in found), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(*(values for _, values in found), rtol=1e-3, atol=1e-4)


def test_a_network_of_large_windows_is_converted_though_openvino_sums_them_in_32_bits(
    requested: MakeRequested, tmp_path: Path
) -> None:
    request, network = requested(side=96, features=(4, 8))
    assert check_agreement(network, convert(network, request, tmp_path), request) < 0.01


def test_of_a_large_stage_some_voxels_are_given(requested: MakeRequested, tmp_path: Path) -> None:
    request, network = requested(side=32)
    backend = OpenVinoBackend(compile_network(convert(network, request, tmp_path), "fp32", threads=1))
    first, second = backend.features(torch.zeros(request.shape))
    assert first[0, 0].numel() <= MOST_VOXELS < 32**3
    assert second.shape == (1, 16, 16, 16, 16)


def test_in_bf16_it_agrees_nearly(requested: MakeRequested, tmp_path: Path) -> None:
    if "bf16" not in native_precisions(torch.device("cpu")):
        pytest.skip("this processor has no bf16 instructions (AVX512-BF16 or AMX)")
    request, network = requested()
    request = request.model_copy(update={"precision": "bf16"})
    assert 1e-4 < check_agreement(network, convert(network, request, tmp_path), request) < 0.1


def test_a_network_of_other_weights_does_not_pass_for_it(requested: MakeRequested, tmp_path: Path) -> None:
    request, network = requested()
    _, other = requested(seed=1)
    converted = convert(network, request, tmp_path)
    with pytest.raises(RuntimeError, match=r"its logits differ from PyTorch's by \d"):
        check_agreement(other, converted, request)


def test_the_features_are_compared_too(
    requested: MakeRequested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Doubled(conversion.Traced):
        def forward(self, window: Tensor) -> tuple[Tensor, ...]:
            logits, *encoded = super().forward(window)
            return (logits, *(2 * stage for stage in encoded))

    request, network = requested()
    with monkeypatch.context() as patch:
        patch.setattr(conversion, "Traced", Doubled)
        converted = convert(network, request, tmp_path)
    with pytest.raises(RuntimeError, match="its features differ from PyTorch's by 1 of these"):
        check_agreement(network, converted, request)


def test_weights_that_are_not_finite_do_not_pass(requested: MakeRequested, tmp_path: Path) -> None:
    request, network = requested()
    torch.nn.init.constant_(next(network.parameters()), torch.nan)
    with pytest.raises(RuntimeError, match="differ from PyTorch's by nan"):
        check_agreement(network, convert(network, request, tmp_path), request)


def test_it_is_converted_in_a_process_of_its_own_that_imports_nothing_from_where_it_is(
    requested: MakeRequested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "torch.py").write_text("raise SystemExit('imported from the working directory')")
    request, network = requested()
    assert check_agreement(network, convert_apart(request, network), request) < 1e-4
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == ["torch.py"]


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
    requested: MakeRequested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, message: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(conversion, "DEADLINE_SECONDS", 1.0)
    with pytest.raises(RuntimeError, match=message):
        convert_apart(*requested())


def test_a_stop_while_it_is_converted_ends_both(requested: MakeRequested, monkeypatch: pytest.MonkeyPatch) -> None:
    started = list[subprocess.Popen[str]]()

    class Stopped(subprocess.Popen[str]):
        def communicate(self, *_: object, **__: object) -> tuple[str, str]:
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", Stopped)
    with pytest.raises(KeyboardInterrupt):
        convert_apart(*requested())
    assert started[0].wait(30) != 0


def test_the_key_depends_on_weights_request_and_code_and_not_on_threads(
    requested: MakeRequested, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, network = requested()
    key = key_of(request, network)
    named = request.network.model_copy(update={"init_from": "runs/1/model"})
    assert key == key_of(request.model_copy(update={"threads": 2, "network": named}), requested()[1])
    channels_last = requested()[1].to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    assert key == key_of(request, channels_last)
    others = [
        key_of(request, requested(seed=1)[1]),
        key_of(request.model_copy(update={"precision": "bf16"}), network),
        key_of(request.model_copy(update={"patch_size": (16, 16, 32)}), network),
    ]
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "unet.py").write_text("# changed")
    monkeypatch.setattr(conversion, "PACKAGE", tmp_path)
    assert len({key, *others, key_of(request, network)}) == 5


def test_what_is_converted_is_compared_in_all_its_parts(requested: MakeRequested, tmp_path: Path) -> None:
    request, network = requested()
    converted = convert(network, request, tmp_path)
    damaged = bytearray(converted.weights)
    middle = len(damaged) // 2
    damaged[middle : middle + 400] = bytes(400)
    with pytest.raises(RuntimeError, match="differ from PyTorch's by"):
        check_agreement(network, dataclasses.replace(converted, weights=bytes(damaged)), request)
