"""Which backend runs a network: on a CPU OpenVINO, where it can; else PyTorch."""

import logging

from safetensors import SafetensorError

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ConfigError
from pipeline.inference.backends import converted
from pipeline.inference.backends.backend import Backend, TorchBackend
from pipeline.inference.backends.conversion import ConversionRequest, convert_apart, key_of
from pipeline.inference.backends.openvino_backend import OpenVinoBackend, compile_network
from pipeline.inference.precision import Compute, native_precisions
from pipeline.networks.unet import UNet

FAILURES = (ImportError, MemoryError, OSError, RuntimeError, SafetensorError)
"""What keeps OpenVINO from running a network: it is missing, or raises, or there is no room."""
_failed: dict[str, str] = {}
"""Why a network could not be converted, by its key: this process does not try again."""
log = logging.getLogger(__name__)


def choose_backend(network: UNet, config: InferenceConfig, *, compute: Compute, request: ConversionRequest) -> Backend:
    """What runs a network that is placed where ``compute`` says.

    Args:
        network: in evaluation mode.
        config: which backend is asked for; `auto` is OpenVINO on a CPU, for networks that it converts faithfully.
        compute: device and number format.
        request: the network, and what is wanted of it.

    Raises:
        ConfigError: OpenVINO is asked for, and cannot run the network here.
    """
    problem = _problem(compute)
    if config.backend != "torch" and not problem:
        try:
            return _openvino(network, request)
        except FAILURES as error:
            problem = [type(error).__name__, *str(error).strip().splitlines()][-1]
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


def _openvino(network: UNet, request: ConversionRequest) -> Backend:
    key = key_of(request, network)
    kept = converted.read(key)
    if kept is None:
        kept = _converted(key, network, request)
        converted.keep(key, kept)
    return OpenVinoBackend(compile_network(kept, request.precision, threads=request.threads))


def _converted(key: str, network: UNet, request: ConversionRequest) -> converted.Converted:
    if key in _failed:
        raise RuntimeError(_failed[key])
    log.info("the network is converted for this processor, once")
    try:
        return convert_apart(request, network)
    except RuntimeError as error:
        _failed[key] = str(error)
        raise
