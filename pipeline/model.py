"""A model on disk: a folder with ``model.json`` and ``weights.safetensors``. Nothing in it is executed or unpickled."""

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.errors import ModelError
from pipeline.files import atomic_path, file_sha256
from pipeline.manifest import WEIGHTS, Manifest, read_manifest, write_manifest
from pipeline.networks.unet import UNet


@dataclass(frozen=True)
class Model:
    """A network with its weights, in evaluation mode, and what belongs to it."""

    manifest: Manifest
    network: UNet


def save_model(folder: Path, weights: dict[str, Tensor], manifest: Manifest) -> Manifest:
    """Write a model; the manifest goes last, so that a folder with one is whole.

    Returns:
        The manifest with the weights' hash filled in.
    """
    with atomic_path(folder / WEIGHTS) as path:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}, path)
    complete = manifest.model_copy(update={"weights_sha256": file_sha256(folder / WEIGHTS)})
    write_manifest(folder, complete)
    return complete


def load_model(folder: Path) -> Model:
    """Read a model.

    Raises:
        ModelError: the manifest or the weights are missing, damaged, or do not belong together.
    """
    manifest = read_manifest(folder)
    network = UNet(manifest.network, len(manifest.modalities), 1 + len(manifest.labels))
    weights = _load_weights(folder / WEIGHTS, manifest.weights_sha256)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise ModelError(
            "weights of the network that model.json describes", str(error).splitlines()[0], "Copy the model again."
        ) from error
    return Model(manifest, network.eval())


def initial_weights(folder: Path, weights_sha256: str, network: UNet) -> list[str]:
    """Take over a model's weights where names and shapes agree.

    Args:
        folder: the model.
        weights_sha256: of its weights, as its manifest says.
        network: what is given the weights.

    Returns:
        The names that were not found in the model, and keep their own values.

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
    return sorted(set(own) - set(shared))


def _load_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        if file_sha256(path) != sha256:
            raise ModelError(
                "the weights that model.json was written for", f"others in {path}", "Copy the model again."
            )
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError("readable weights", f"{path}: {error}", "Copy the model again.") from error
