import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import ModelError
from pipeline.files import file_sha256
from pipeline.manifest import Manifest, Provenance, read_manifest, write_manifest
from pipeline.model import initial_weights, load_model, save_model
from pipeline.networks.unet import UNet
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation

NETWORK = NetworkConfig(features=(4, 8), deep_supervision=0, norm="batch")
MANIFEST = Manifest(
    name="tiny",
    labels={"liver": 3, "spleen": 7},
    modalities=("MRI",),
    preprocessing=FittedPreprocessing(
        spacing_mm=None, crop="none", channels=(ScanNormalisation(),), resampling_order=3, anisotropy_ratio=3.0
    ),
    network=NETWORK,
    patch_size=(8, 8, 8),
    mirror_axes=(),
    inference=InferenceConfig(),
    evaluation=EvaluationConfig(),
    parts={},
    validation_dice=0.5,
    weights_sha256="",
    provenance=Provenance(
        code_version="0.1.0",
        commit=None,
        created="2025-01-01T00:00:00+00:00",
        run_id=None,
        dataset="tiny",
        seed=0,
        epochs=1,
        seconds=1.0,
        precision="fp32",
        threads=1,
    ),
)


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(NETWORK, channels=1, classes=3).eval()


@pytest.fixture
def folder(tmp_path: Path, network: UNet) -> Path:
    """A saved model."""
    save_model(tmp_path / "model", network.state_dict(), MANIFEST)
    return tmp_path / "model"


def replace_weights(folder: Path, content: bytes) -> None:
    """Put other bytes in place of the weights, with a manifest that vouches for them."""
    (folder / "weights.safetensors").write_bytes(content)
    sha256 = file_sha256(folder / "weights.safetensors")
    write_manifest(folder, read_manifest(folder).model_copy(update={"weights_sha256": sha256}))


def test_a_saved_model_gives_the_same_logits(folder: Path, network: UNet) -> None:
    model, x = load_model(folder), torch.randn(1, 1, 8, 8, 8)
    assert not model.network.training
    assert torch.equal(model.network(x)[0], network(x)[0])


def test_a_model_is_two_files_and_the_manifest_holds_the_weights_hash(folder: Path, network: UNet) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "weights.safetensors"]
    complete = save_model(folder, network.state_dict(), MANIFEST)
    assert complete.weights_sha256 == file_sha256(folder / "weights.safetensors")
    assert (
        load_model(folder).manifest
        == complete
        == MANIFEST.model_copy(update={"weights_sha256": complete.weights_sha256})
    )


def test_weights_in_the_channels_last_layout_are_saved_as_well(tmp_path: Path, network: UNet) -> None:
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    last = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    save_model(tmp_path, last.state_dict(), MANIFEST)
    loaded = load_model(tmp_path).network.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("place", [0, 40, -1])
def test_a_single_flipped_byte_in_the_weights_is_noticed(folder: Path, place: int) -> None:
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        ModelError, match=r"the weights that model\.json was written for; found others in .*Copy the model"
    ):
        load_model(folder)


@pytest.mark.parametrize("missing", ["model.json", "weights.safetensors"])
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=missing.replace(".", r"\.")):
        load_model(folder)


def test_weights_that_are_no_safetensors_are_refused(folder: Path) -> None:
    replace_weights(folder, b"something else entirely")
    with pytest.raises(ModelError, match=r"readable weights; found .*weights\.safetensors: "):
        load_model(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    other = MANIFEST.model_copy(update={"network": NETWORK.model_copy(update={"features": (4, 6)})})
    save_model(folder, load_model(folder).network.state_dict(), other)
    with pytest.raises(
        ModelError, match=r"weights of the network that model\.json describes; found Error\(s\) in loading"
    ):
        load_model(folder)


@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_nothing_is_unpickled(folder: Path, tmp_path: Path, write: str) -> None:
    witness, attack = tmp_path / "witness", tmp_path / "attack"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (witness,)

    if write == "pickle":
        attack.write_bytes(pickle.dumps(Attack()))
    else:
        torch.save({"encoder.0.blocks.0.0.weight": Attack()}, attack)
    replace_weights(folder, attack.read_bytes())
    with pytest.raises(ModelError, match="readable weights"):
        load_model(folder)
    assert not witness.exists()


def test_a_network_starts_from_the_weights_that_agree(folder: Path, network: UNet) -> None:
    other = UNet(NETWORK, channels=1, classes=2)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    taken = initial_weights(folder, file_sha256(folder / "weights.safetensors"), other)
    # it has one class fewer
    assert taken.other_shape == {"heads.0.weight": ((2, 4, 1, 1, 1), (3, 4, 1, 1, 1)), "heads.0.bias": ((2,), (3,))}
    assert (taken.new, taken.total) == ((), len(before))
    after = other.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(after[name], before[name] if name.startswith("heads") else tensor), name


@pytest.mark.parametrize("changes", [{"block": "residual"}, {"block": "inception"}, {"attention": True}])
def test_every_kind_of_network_is_read_as_it_was_saved(tmp_path: Path, changes: dict[str, Any]) -> None:
    config = NETWORK.model_copy(update={"features": (8, 16)} | changes)
    saved = UNet(config, channels=1, classes=3).eval()
    save_model(tmp_path, saved.state_dict(), MANIFEST.model_copy(update={"network": config}))
    x = torch.randn(1, 1, 8, 8, 8)
    torch.testing.assert_close(load_model(tmp_path).network(x), saved(x))


def test_a_network_with_attention_starts_from_one_without_and_lacks_its_gates_alone(folder: Path) -> None:
    other = UNet(NETWORK.model_copy(update={"attention": True}), channels=1, classes=3)
    taken = initial_weights(folder, file_sha256(folder / "weights.safetensors"), other)
    assert (sorted(taken.new), taken.other_shape) == (
        [
            "decoder.0.gate.of_gating.bias",
            "decoder.0.gate.of_gating.weight",
            "decoder.0.gate.of_skip.weight",
            "decoder.0.gate.psi.bias",
            "decoder.0.gate.psi.weight",
        ],
        {},
    )


def test_a_network_without_anything_in_common_is_refused(folder: Path) -> None:
    other = UNet(NetworkConfig(features=(5, 9), deep_supervision=0), channels=1, classes=2)
    with pytest.raises(ModelError, match=r"layers of this network's shapes; found none in .*network\.init_from"):
        initial_weights(folder, file_sha256(folder / "weights.safetensors"), other)
