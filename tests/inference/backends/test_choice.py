"""Which backend runs a network, and that there is always one."""

import logging
import sys
from pathlib import Path

import pytest
import torch

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ConfigError
from pipeline.inference.backends import choice
from pipeline.inference.backends.choice import choose_backend
from pipeline.inference.backends.conversion import Order
from pipeline.inference.precision import Compute, native_precisions
from pipeline.networks.unet import UNet
from tests.inference.backends.conftest import MakeOrdered

CPU = Compute(torch.device("cpu"), "fp32")


def name_of(ordered: tuple[Order, UNet], asked: str, compute: Compute = CPU) -> str:
    order, network = ordered
    config = InferenceConfig.model_validate({"backend": asked})
    return choose_backend(network, config, compute=compute, order=order).name


def crash(_order: Order, _network: UNet, _folder: Path) -> None:
    raise RuntimeError("the conversion was ended by SIGSEGV")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))


def test_on_a_cpu_it_is_openvino_unless_pytorch_is_asked_for(
    ordered: MakeOrdered, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ordered()
    assert name_of(network, "auto") == "openvino"
    monkeypatch.setattr(choice, "make", crash)  # no more: it is kept
    assert name_of(network, "openvino") == "openvino"
    assert name_of(network, "torch") == "torch"


def test_where_the_conversion_fails_it_is_pytorch_and_a_warning_says_why(
    ordered: MakeOrdered, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(choice, "make", crash)
    with caplog.at_level(logging.WARNING):
        assert name_of(ordered(), "auto") == "torch"
    message = "the network runs in PyTorch, which is slower than OpenVINO: the conversion was ended by SIGSEGV"
    assert [record.getMessage() for record in caplog.records] == [message]
    with pytest.raises(ConfigError, match=r"OpenVINO can run here; found the conversion was ended by SIGSEGV. Use "):
        name_of(ordered(), "openvino")


def test_without_openvino_it_is_pytorch(ordered: MakeOrdered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert name_of(ordered(), "auto") == "torch"
    with pytest.raises(ConfigError, match="found import of openvino halted"):
        name_of(ordered(), "openvino")


def test_on_a_gpu_and_in_formats_that_the_processor_lacks_it_is_pytorch(
    ordered: MakeOrdered, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu = Compute(torch.device("cuda"), "fp32")
    monkeypatch.setattr(choice, "native_precisions", lambda device: native_precisions(device) - {"bf16"})
    with caplog.at_level(logging.WARNING):
        assert name_of(ordered(), "auto", gpu) == "torch"
        assert name_of(ordered(), "auto", Compute(CPU.device, "bf16")) == "torch"
    assert not caplog.records  # as is to be expected
    with pytest.raises(ConfigError, match="the device cuda, where PyTorch runs it"):
        name_of(ordered(), "openvino", gpu)
    with pytest.raises(ConfigError, match="bf16 on a processor that does not have it"):
        name_of(ordered(), "openvino", Compute(CPU.device, "bf16"))
