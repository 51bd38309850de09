"""The number formats of a predictor: which one runs, and what it does to a mask."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import ModelError, ScanError
from pipeline.inference import precision, windows
from pipeline.inference import predictor as predictor_module
from pipeline.inference.backends.backend import Observe, TorchBackend
from pipeline.inference.predictor import Predictor, network_function
from pipeline.manifest import Manifest
from pipeline.model import Model, load_model
from pipeline.networks.unet import UNet
from pipeline.preprocessing.prepare import Prepared
from pipeline.preprocessing.prepare import prepare as prepare_scan
from pipeline.scan import Scan

WriteModel = Callable[..., Path]
CPU = torch.device("cpu")
TORCH = InferenceConfig(device="cpu", backend="torch", precision="fp32")


def with_trained_precision(model: Model, trained: str) -> Model:
    provenance = model.manifest.provenance.model_copy(update={"precision": trained})
    return Model(model.manifest.model_copy(update={"provenance": provenance}), model.network)


@pytest.mark.parametrize(("native", "used"), [(("fp32", "bf16"), "bf16"), (("fp32",), "fp32")])
def test_auto_is_the_format_of_the_training_where_the_processor_has_it(
    write_model: WriteModel, monkeypatch: pytest.MonkeyPatch, native: tuple[str, ...], used: str
) -> None:
    monkeypatch.setattr(precision, "native_precisions", lambda _device: frozenset(native))
    model = with_trained_precision(load_model(write_model()), "bf16")
    assert Predictor(model, InferenceConfig(device="cpu", backend="torch")).compute == precision.Compute(CPU, used)


def random_unet(manifest: Manifest) -> Model:
    """A network of random weights whose classes are decided by convolutions of many channels."""
    config = NetworkConfig(features=(16, 32), deep_supervision=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(config, 1, 3).eval()
    return Model(manifest.model_copy(update={"network": config, "patch_size": (32, 32, 32)}), network)


def test_a_network_of_images_sees_a_volume_slice_by_slice(write_model: WriteModel) -> None:
    config = NetworkConfig(dimensions=2, features=(4, 8), deep_supervision=0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = UNet(config, 1, 3).eval()
    base = load_model(write_model()).manifest
    fitted = base.preprocessing.model_copy(update={"slice_axis": 0, "spacing_mm": None, "crop": "none"})
    changed = {"network": config, "patch_size": (36, 32), "preprocessing": fitted, "labels": {"a": 1, "b": 2}}
    manifest = base.model_copy(update=changed)
    scan = smooth_scan()  # 40 sagittal slices of 36 x 32
    mask = Predictor(Model(manifest, network), TORCH).predict(scan)
    slices = torch.from_numpy(prepare_scan(scan, fitted).image).permute(3, 0, 1, 2)
    with torch.inference_mode():
        expected = network(slices)[0].argmax(1).numpy()
    assert set(np.unique(mask)) == {0, 1, 2}
    assert np.array_equal(mask, expected)


def smooth_scan() -> Scan:
    noise = np.random.default_rng(0).normal(size=(1, 40, 36, 32))
    image: NDArray[np.float32] = ndimage.gaussian_filter(noise, (0, 3, 3, 3)).astype(np.float32)
    return Scan(image / image.std() + 3, np.eye(4), Path("smooth.nii"))


@pytest.mark.parametrize("tta", [False, True])
def test_with_probability_maps_the_mask_is_the_same_and_the_likeliest_class_of_each_voxel(
    write_model: WriteModel, tta: bool
) -> None:
    model = random_unet(load_model(write_model(spacing_mm=(1.2, 0.9, 1.3))).manifest)
    prepared = prepare_scan(smooth_scan(), model.manifest.preprocessing)
    plain, mapped = (
        Predictor(model, TORCH.model_copy(update={"tta": tta, "probability_maps": wanted})) for wanted in (False, True)
    )
    alone, found = plain.segment(prepared), mapped.segment(prepared)
    assert alone.probabilities is None
    assert found.probabilities is not None
    assert np.array_equal(alone.mask, found.mask)
    assert np.array_equal(np.array([0, 1, 4])[found.probabilities.argmax(0)], found.mask)


def test_a_scan_for_which_memory_is_too_short_is_refused_before_anything_runs(
    write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor_module, "available_bytes", lambda: 10**8)
    model = load_model(write_model())
    predictor = Predictor(model, TORCH.model_copy(update={"readers": 2}))
    monkeypatch.setattr(predictor, "_network", None)
    for call in (predictor.predict, lambda scan: predictor.segment(prepare_scan(scan, model.manifest.preprocessing))):
        with pytest.raises(ScanError, match=r"a scan that fits into memory; found .* about 0\.2 GB, where 0\.1 GB are"):
            call(smooth_scan())


def test_where_nobody_knows_what_is_free_nothing_is_refused(
    write_model: WriteModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor_module, "available_bytes", lambda: None)
    predictor = Predictor(load_model(write_model()), TORCH)
    assert predictor.predict(smooth_scan()).shape == (40, 36, 32)


def test_numbers_that_are_not_finite_are_refused(write_model: WriteModel, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(random_unet(load_model(write_model()).manifest), TORCH)
    logits = predictor.backend.logits

    def spoilt(window: Tensor, observe: Observe | None = None) -> Tensor:
        found = logits(window, observe)
        found[..., -1, -1, -1] = torch.nan  # in a cell that waits, where others do
        return found

    monkeypatch.setattr(predictor.backend, "logits", spoilt)
    for large in (windows.LARGE_BYTES, 0):
        monkeypatch.setattr(windows, "LARGE_BYTES", large)
        with pytest.raises(ModelError, match="probabilities from the network; found values that are not finite"):
            predictor.predict(smooth_scan())


def test_bf16_runs_on_a_cpu_that_has_it_and_its_mask_agrees_nearly_everywhere_with_that_of_fp32(
    write_model: WriteModel,
) -> None:
    if "bf16" not in precision.native_precisions(CPU):
        pytest.skip("this processor has no bf16 instructions (AVX512-BF16 or AMX)")
    model = random_unet(load_model(write_model()).manifest)
    prepared: Prepared = prepare_scan(smooth_scan(), model.manifest.preprocessing)
    masks = {}
    for name in ("fp32", "bf16"):
        predictor = Predictor(model, TORCH.model_copy(update={"precision": name}))
        masks[name] = predictor.predict_prepared(prepared)
    batch = torch.from_numpy(prepared.image)[None, :, :32, :32, :32]
    with torch.inference_mode():
        half, single = (
            network_function(TorchBackend(model.network, precision.Compute(CPU, name)), 3)(batch)
            for name in ("bf16", "fp32")
        )
    assert (half.dtype, single.dtype) == (torch.bfloat16, torch.float32)
    assert not torch.equal(half.float(), single)
    assert min(np.unique(masks["fp32"], return_counts=True)[1]) > 1000  # of each class
    assert (masks["bf16"] == masks["fp32"]).mean() > 0.98
