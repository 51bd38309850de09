"""Which backend runs a network, and that there is always one."""

import logging
import sys
from unittest.mock import Mock

import pytest
import torch
from safetensors import SafetensorError

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ConfigError
from pipeline.inference.backends import choice
from pipeline.inference.backends.choice import choose_backend
from pipeline.inference.backends.conversion import ConversionRequest
from pipeline.inference.backends.converted import Converted
from pipeline.inference.precision import Compute, native_precisions
from pipeline.networks.unet import UNet
from tests.inference.backends.conftest import MakeRequested, Requested

CPU = Compute(torch.device("cpu"), "fp32")


def name_of(asked_for: Requested, asked: str, compute: Compute = CPU) -> str:
    request, network = asked_for
    config = InferenceConfig.model_validate({"backend": asked})
    return choose_backend(network, config, compute=compute, request=request).name


def crash(_request: ConversionRequest, _network: UNet) -> Converted:
    raise RuntimeError("the conversion was ended by SIGSEGV")


@pytest.fixture(autouse=True)
def _nothing_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_failed", {})


def test_on_a_cpu_it_is_openvino_unless_pytorch_is_asked_for(
    requested: MakeRequested, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = requested()
    assert name_of(network, "auto") == "openvino"
    monkeypatch.setattr(choice, "convert_apart", crash)  # no more: it is kept
    assert name_of(network, "openvino") == "openvino"
    assert name_of(network, "torch") == "torch"


def test_where_the_conversion_fails_it_is_pytorch_and_a_warning_says_why(
    requested: MakeRequested, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "convert_apart", crash)
    with caplog.at_level(logging.WARNING):
        assert name_of(requested(), "auto") == "torch"
    message = "the network runs in PyTorch, which is slower than OpenVINO: the conversion was ended by SIGSEGV"
    assert [record.getMessage() for record in caplog.records] == [message]
    with pytest.raises(ConfigError, match=r"OpenVINO can run here; found the conversion was ended by SIGSEGV. Use "):
        name_of(requested(), "openvino")


def test_what_has_failed_is_not_tried_again_by_the_same_process(
    requested: MakeRequested, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = Mock(side_effect=RuntimeError("no such layer"))
    monkeypatch.setattr(choice, "convert_apart", tried)
    assert [name_of(requested(), "auto") for _ in range(3)] == ["torch"] * 3
    assert tried.call_count == 1
    assert name_of(requested(seed=1), "auto") == "torch"
    assert tried.call_count == 2


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (OSError(28, "No space left on device"), r"No space left on device"),
        (MemoryError(), "MemoryError"),
        (SafetensorError("it cannot be written"), "it cannot be written"),
    ],
)
def test_without_room_it_is_pytorch(
    requested: MakeRequested, monkeypatch: pytest.MonkeyPatch, error: Exception, found: str
) -> None:
    monkeypatch.setattr(choice, "convert_apart", Mock(side_effect=error))
    assert name_of(requested(), "auto") == "torch"
    with pytest.raises(ConfigError, match=found):
        name_of(requested(), "openvino")


def test_without_openvino_it_is_pytorch(requested: MakeRequested, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert name_of(requested(), "auto") == "torch"
    with pytest.raises(ConfigError, match="found import of openvino halted"):
        name_of(requested(), "openvino")


def test_on_a_gpu_and_in_formats_that_the_processor_lacks_it_is_pytorch(
    requested: MakeRequested, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Compute(torch.device("cuda"), "fp32")
    monkeypatch.setattr(choice, "native_precisions", lambda device: native_precisions(device) - {"bf16"})
    with caplog.at_level(logging.WARNING):
        assert name_of(requested(), "auto", gpu) == "torch"
        assert name_of(requested(), "auto", Compute(CPU.device, "bf16")) == "torch"
    assert not caplog.records  # as is to be expected
    with pytest.raises(ConfigError, match="the device cuda, where PyTorch runs it"):
        name_of(requested(), "openvino", gpu)
    with pytest.raises(ConfigError, match="bf16 on a processor that does not have it"):
        name_of(requested(), "openvino", Compute(CPU.device, "bf16"))
