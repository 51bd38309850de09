import json
from pathlib import Path

import pytest

from pipeline.config.evaluation import EvaluationConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import ModelError
from pipeline.manifest import Manifest, Provenance, read_manifest, write_manifest
from pipeline.preprocessing.fitted import ClipNormalisation, FittedPreprocessing, ScanNormalisation

MANIFEST = Manifest(
    name="organs",
    labels={"spleen": 7, "liver": 3},
    modalities=("CT", "PET"),
    preprocessing=FittedPreprocessing(
        spacing_mm=(1.0, 0.1, 1 / 3),
        crop="nonzero",
        channels=(ClipNormalisation(low=-100.5, high=240, mean=60.1, std=31.7), ScanNormalisation(nonzero_only=True)),
        resampling_order=3,
        anisotropy_ratio=3.0,
    ),
    network=NetworkConfig(features=(4, 8), deep_supervision=0),
    patch_size=(8, 8, 8),
    mirror_axes=(1, 2),
    inference=InferenceConfig(keep_largest=("liver",)),
    evaluation=EvaluationConfig(),
    parts={"12ab": "train", "34cd": "test"},
    validation_dice=None,
    weights_sha256="ab" * 32,
    provenance=Provenance(
        code_version="0.1.0",
        commit=None,
        created="2025-01-01T00:00:00+00:00",
        run_id=None,
        dataset="Größenvergleich",
        seed=0,
        epochs=3,
        seconds=1.5,
        precision="fp32",
        threads=2,
    ),
)


def change(folder: Path, **entries: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | entries), encoding="utf-8")


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path / "model", MANIFEST)
    assert read_manifest(tmp_path / "model") == MANIFEST


def test_classes_keep_the_order_of_the_labels(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert list(read_manifest(tmp_path).labels) == ["spleen", "liver"]
    assert read_manifest(tmp_path).label_values == (7, 3)


def test_a_folder_without_a_manifest_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a model folder with model\.json; found none in .*Give the folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"{", r"valid JSON; found .*model\.json, which does not parse: Expecting property name"),
        (b"\xff\xfe\x00", r"a model folder with model\.json; found none in"),
        (b"[]", r"a model\.json of format version 1; found 1 problem:\s+settings: Input should be a valid dictionary"),
    ],
    ids=["cut off", "no text", "no object"],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(ModelError, match=found):
        read_manifest(tmp_path)


def test_a_foreign_format_version_is_refused(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    change(tmp_path, format_version=2)
    with pytest.raises(
        ModelError,
        match=r"a model\.json of format version 1; found 1 problem:\s+format_version: Input should be 1, found 2",
    ):
        read_manifest(tmp_path)


def test_every_entry_that_does_not_fit_is_named(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    change(tmp_path, labels={}, extra="?", patch_size="large")
    with pytest.raises(
        ModelError, match=r"(?s)3 problems:\s+patch_size: .*labels: .*extra: is no setting.*version of medseg"
    ):
        read_manifest(tmp_path)
