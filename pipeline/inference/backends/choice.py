"""Which backend runs a network: on a CPU OpenVINO, where it can; else PyTorch."""

import logging
from functools import partial

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ConfigError
from pipeline.inference.backends.backend import Backend, TorchBackend
from pipeline.inference.backends.conversion import Order, make
from pipeline.inference.backends.converted import make_key, read_or_make
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_model
from pipeline.inference.precision import Compute, native_precisions
from pipeline.networks.unet import UNet

log = logging.getLogger(__name__)


def choose_backend(network: UNet, config: InferenceConfig, *, compute: Compute, order: Order) -> Backend:
    """What runs a network that is placed where ``compute`` says.

    Args:
        network: in evaluation mode.
        config: which backend is asked for; `auto` is OpenVINO on a CPU, for networks that it converts faithfully.
        compute: device and number format.
        order: the network, and what is wanted of it.

    Raises:
        ConfigError: OpenVINO is asked for, and cannot run the network here.
    """
    problem = _problem(compute)
    if config.backend != "torch" and not problem:
        try:
            return _openvino(network, order)
        except (ImportError, RuntimeError) as error:  # the latter is what OpenVINO raises
            problem = str(error).strip().splitlines()[-1]
            if config.backend == "auto":
                log.warning("the network runs in PyTorch, which is slower than OpenVINO: %s", problem)
    if config.backend == "openvino":
        raise ConfigError("a network that OpenVINO can run here", problem, "Use inference.backend=torch.")
    return TorchBackend(network, compute)


def _problem(compute: Compute) -> str:
    """Why OpenVINO is out of the question, or ""."""
    if compute.device.type != "cpu":
        return f"the device {compute.device.type}, where PyTorch runs it"
    if compute.precision not in native_precisions(compute.device):
        return f"{compute.precision} on a processor that does not have it"
    return ""


def _openvino(network: UNet, order: Order) -> Backend:
    model = read_or_make(make_key(order, network), partial(make, order, network))
    return OpenVinoBackend(compile_model(model, order.precision, threads=order.threads))
