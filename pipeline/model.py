"""A model on disk: a folder with ``model.json`` and ``weights.safetensors``.

A model with a scan gate has ``gate.safetensors``, and one that predicts Dice ``estimate.safetensors``. Nothing in it is
executed or unpickled.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import ModelError
from pipeline.files import atomic_path, file_sha256
from pipeline.manifest import (
    ESTIMATE,
    GATE,
    WEIGHTS,
    AutoencoderManifest,
    Manifest,
    ModelRecord,
    read_any_manifest,
    read_autoencoder_manifest,
    read_manifest,
    write_manifest,
)
from pipeline.networks.autoencoder import Autoencoder
from pipeline.networks.unet import UNet

M = TypeVar("M", bound=ModelRecord)


@dataclass(frozen=True)
class Model:
    """A network with its weights, in evaluation mode, and what belongs to it.

    Attributes:
        manifest: what the model is.
        network: that segments.
        gate: what the scan gate was fitted to be, by name, as `inference.gate` reads it; empty where there is none.
        estimate: the same of predicted Dice, as `inference.estimate` reads it.
    """

    manifest: Manifest
    network: UNet
    gate: Mapping[str, NDArray] = field(default_factory=dict)
    estimate: Mapping[str, NDArray] = field(default_factory=dict)


@dataclass(frozen=True)
class AutoencoderModel:
    """An autoencoder with its weights, in evaluation mode, and what belongs to it."""

    manifest: AutoencoderManifest
    network: Autoencoder


@dataclass(frozen=True)
class TakenOver:
    """What a network has taken over from a model's weights.

    Attributes:
        same: names of tensors that were taken over.
        other_shape: names of those that the model has in another shape, with both shapes, the network's own first.
        new: names of those that the model does not have.
    """

    same: tuple[str, ...]
    other_shape: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    new: tuple[str, ...]

    @property
    def total(self) -> int:
        """Tensors of the network."""
        return len(self.same) + len(self.other_shape) + len(self.new)


def save_model(folder: Path, weights: dict[str, Tensor], manifest: M) -> M:
    """Write a model; the manifest goes last, so that a folder with one is whole.

    Returns:
        The manifest with the weights' hash filled in.
    """
    with atomic_path(folder / WEIGHTS) as path:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, path)
    complete = manifest.model_copy(update={"weights_sha256": file_sha256(folder / WEIGHTS)})
    write_manifest(folder, complete)
    return complete


def save_gate(folder: Path, manifest: Manifest, gate: Mapping[str, NDArray]) -> Manifest:
    """Give a model that `save_model` wrote a scan gate; the manifest, which names its file, goes last again.

    Returns:
        The manifest with the file's hash filled in.
    """
    complete = manifest.model_copy(update={"gate_sha256": _save_arrays(folder / GATE, gate)})
    write_manifest(folder, complete)
    return complete


def save_estimate(folder: Path, manifest: Manifest, estimate: Mapping[str, NDArray]) -> Manifest:
    """The same of predicted Dice."""
    complete = manifest.model_copy(update={"estimate_sha256": _save_arrays(folder / ESTIMATE, estimate)})
    write_manifest(folder, complete)
    return complete


def _save_arrays(path: Path, arrays: Mapping[str, NDArray]) -> str:
    """Write arrays by name, and return the hash of the file."""
    with atomic_path(path) as partial:
        save_arrays(dict(sorted(arrays.items())), partial)
    return file_sha256(path)


def load_model(folder: Path) -> Model:
    """Read a model that segments.

    Raises:
        ModelError: the manifest or the weights are missing, damaged, or do not belong together.
    """
    manifest = read_manifest(folder)
    network = UNet(manifest.network, len(manifest.modalities), 1 + len(manifest.labels))
    _fill(network, folder, manifest)
    gate = _load_arrays(folder / GATE, manifest.gate_sha256, "scan gate")
    estimate = _load_arrays(folder / ESTIMATE, manifest.estimate_sha256, "predicted Dice")
    return Model(manifest, network.eval(), gate, estimate)


def load_autoencoder(folder: Path) -> AutoencoderModel:
    """Read an autoencoder; as `load_model`."""
    manifest = read_autoencoder_manifest(folder)
    channels, patch_size = len(manifest.modalities), manifest.patch_size
    network = Autoencoder(manifest.network, manifest.autoencoder, channels=channels, patch_size=patch_size)
    _fill(network, folder, manifest)
    return AutoencoderModel(manifest, network.eval())


def load_any_model(folder: Path) -> Model | AutoencoderModel:
    """Read a model, whatever it was trained for; as `load_model`."""
    is_autoencoder = isinstance(read_any_manifest(folder), AutoencoderManifest)
    return load_autoencoder(folder) if is_autoencoder else load_model(folder)


def initial_weights(folder: Path, weights_sha256: str, network: nn.Module) -> TakenOver:
    """Take over a model's weights where names and shapes agree.

    Args:
        folder: the model.
        weights_sha256: of its weights, as its manifest says.
        network: what is given the weights.

    Raises:
        ModelError: the weights cannot be read, or nothing agrees.
    """
    own = network.state_dict()
    given = _load_weights(folder / WEIGHTS, weights_sha256)
    shared = {name: tensor for name, tensor in given.items() if name in own and own[name].shape == tensor.shape}
    if not shared:
        raise ModelError(
            "a model with layers of this network's shapes", f"none in {folder}", "Check network.init_from."
        )
    network.load_state_dict(own | shared)
    misfits = {name: (tuple(own[name].shape), tuple(given[name].shape)) for name in own.keys() & given.keys()}
    return TakenOver(
        tuple(name for name in own if name in shared),
        {name: misfits[name] for name in own if name in misfits and name not in shared},
        tuple(name for name in own if name not in given),
    )


def _fill(network: nn.Module, folder: Path, manifest: ModelRecord) -> None:
    weights = _load_weights(folder / WEIGHTS, manifest.weights_sha256)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            "weights of the network that model.json describes", str(error).splitlines()[0], "Copy the model again."
        ) from error


def _load_arrays(path: Path, sha256: str | None, what: str) -> dict[str, NDArray]:
    """Arrays by name; none where the manifest names no file."""
    if sha256 is None:
        return {}
    with _reading(path, sha256, what):
        return load_arrays(path)


def _load_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    with _reading(path, sha256, "weights"):
        return load_file(path)


@contextmanager
def _reading(path: Path, sha256: str, what: str) -> Iterator[Path]:
    """A file that is to be the one that ``model.json`` names."""
    try:
        if file_sha256(path) != sha256:
            raise ModelError(
                f"the {what} that model.json was written for", f"others in {path}", "Copy the model again."
            )
        yield path
    except (OSError, SafetensorError) as error:
        raise ModelError(f"readable {what}", f"{path}: {error}", "Copy the model again.") from error
