"""Restored images: on which grid, and of which networks."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.inference import InferenceConfig
from pipeline.errors import ModelError, ScanError
from pipeline.inference import restoration
from pipeline.inference.footprint import FIXED_BYTES, restoring_bytes
from pipeline.inference.restoration import Restorer
from pipeline.model import AutoencoderModel
from pipeline.networks.autoencoder import Code, Reconstruction
from pipeline.preprocessing.prepare import plan_uncropped, prepare
from pipeline.scan import Scan, ScanHeader
from tests.inference.test_embedding import manifest

CONFIG = InferenceConfig(device="cpu", precision="fp32", overlap=0.5)
NOISE = {"kind": "denoising", "corruption": {"noise": (0, 1)}}
COARSE = {"kind": "denoising", "corruption": {"downsampling": (2, 2), "downsampling_axes": (2,)}}


class AddOne(nn.Module):
    """Makes everything one deviation brighter."""

    def __init__(self, value: float = 1.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Reconstruction:
        return Reconstruction(x + self.value, Code(torch.zeros(len(x), 2)))


def restorer(network: nn.Module, patch_size: tuple[int, ...], **settings: object) -> Restorer:
    return Restorer(AutoencoderModel(manifest(patch_size, **settings), network), CONFIG)  # type: ignore[arg-type]


def scan(*shape: int, spacing_mm: float = 1.0) -> Scan:
    array = np.random.default_rng(0).normal(10, 3, (1, *shape)).astype(np.float32)
    return Scan(array, np.diag([1.0, 1.0, spacing_mm, 1.0]), Path("scan.nii"))


def test_a_scan_for_which_there_is_no_room_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tool, given = restorer(AddOne(), (8, 8, 8), **NOISE), scan(8, 9, 10)
    prepared = prepare(given, tool.manifest.preprocessing)
    needed = restoring_bytes(prepared.trail, tool.manifest, CONFIG)
    monkeypatch.setattr(restoration, "available_bytes", lambda: needed - 100_000_000)
    with pytest.raises(
        ScanError, match=r"fits into memory; found one that needs about 0\.2 GB, where 0\.1 GB are free"
    ):
        tool.restore(given, prepared)
    monkeypatch.setattr(restoration, "available_bytes", lambda: needed)
    tool.restore(given, prepared)


@pytest.mark.parametrize(("spacing_mm", "voxels"), [(1.0, 200**3), (2.0, 400**3)])
def test_what_restoring_takes_follows_from_the_sizes(spacing_mm: float, voxels: int) -> None:
    record = manifest((8, 8, 8), **NOISE)
    header = ScanHeader((200, 200, 200), 1, np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))
    told = restoring_bytes(plan_uncropped(header, record.preprocessing), record, CONFIG)
    # the restored image; what it changed; the change on the scan's grid twice; the scan
    arrays = 4 * (voxels + voxels + 2 * 200**3 + 200**3)
    splines = 0 if voxels == 200**3 else 4 * voxels + 12 * 424**3  # 12 voxels of margin on either side
    assert told == FIXED_BYTES + arrays + splines


MEASURED = """
import json, sys
from pathlib import Path
import numpy as np
from pipeline.config.inference import InferenceConfig
from pipeline.inference.footprint import restoring_bytes
from pipeline.inference.restoration import Restorer
from pipeline.manifest import AutoencoderManifest
from pipeline.model import AutoencoderModel
from pipeline.networks.autoencoder import Autoencoder
from pipeline.preprocessing.prepare import prepare
from pipeline.scan import Scan

def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

shape, spacing_mm = json.loads(sys.argv[1])
manifest = AutoencoderManifest.model_validate_json(Path("manifest.json").read_text())
network = Autoencoder(manifest.network, manifest.autoencoder, channels=1, patch_size=manifest.patch_size).eval()
restorer = Restorer(AutoencoderModel(manifest, network), InferenceConfig(precision="fp32", threads=1, overlap=0.0))
array = np.random.default_rng(0).standard_normal((1, *shape), dtype=np.float32)
scan = Scan(array, np.diag([*spacing_mm, 1.0]), Path("scan.nii"))
prepared = prepare(scan, manifest.preprocessing)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
before = status("VmRSS:")
restorer.restore(scan, prepared)
print(status("VmHWM:") - before, restoring_bytes(prepared.trail, manifest, restorer.config))
"""
"""Prints how many bytes restoring a scan of noise took at most, and how many were told."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("settings", "shape", "spacing_mm"),
    [
        pytest.param(NOISE, (150, 150, 120), (1.0, 1.0, 1.0), id="on the same grid"),
        pytest.param(NOISE, (200, 200, 80), (0.6, 0.6, 0.6), id="on a finer grid than the network's"),
        pytest.param(NOISE, (110, 110, 70), (1.6, 1.6, 1.6), id="on a coarser grid than the network's"),
        pytest.param(COARSE, (130, 130, 40), (1.0, 1.0, 3.0), id="to a higher resolution"),
    ],
)
def test_a_process_takes_about_what_was_told(
    tmp_path: Path, settings: dict[str, object], shape: tuple[int, ...], spacing_mm: tuple[float, ...]
) -> None:
    (tmp_path / "manifest.json").write_text(manifest((48, 48, 48), **settings).model_dump_json())
    line = [sys.executable, "-c", MEASURED, json.dumps([shape, spacing_mm])]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    measured, told = map(int, done.stdout.split())
    assert measured <= told <= 1.5 * measured + FIXED_BYTES


@pytest.mark.parametrize("shape", [(8, 8, 8), (13, 9, 20), (5, 8, 3)])
def test_windows_are_joined_without_a_seam(shape: tuple[int, ...]) -> None:
    tool = restorer(AddOne(), (8, 8, 8), **NOISE)
    given = scan(*shape)
    found = tool.restore(given, prepare(given, tool.manifest.preprocessing))
    np.testing.assert_allclose(found.array - given.array, given.array.std(), rtol=1e-4)
    assert found.affine is given.affine


def test_slices_are_restored_one_by_one_by_a_network_of_images() -> None:
    tool = restorer(AddOne(), (8, 8), **NOISE)
    given = scan(8, 11, 3)
    found = tool.restore(given, prepare(given, tool.manifest.preprocessing))
    np.testing.assert_allclose(found.array - given.array, given.array.std(), rtol=1e-4)


def test_what_learnt_a_higher_resolution_gives_its_own_grid() -> None:
    tool = restorer(AddOne(), (8, 8, 8), **COARSE)
    given = scan(8, 8, 4, spacing_mm=3.0)
    found = tool.restore(given, prepare(given, tool.manifest.preprocessing))
    assert found.shape == (8, 8, 12)
    np.testing.assert_allclose(np.diag(found.affine), [1, 1, 1, 1])
    assert found.affine[2, 3] == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"kind": "undercomplete", "code_size": 4}, "undercomplete"),
        ({"kind": "denoising", "corruption": {"masked_share": 0.5, "only_masked": True}}, "masked"),
    ],
)
def test_other_kinds_restore_nothing(settings: dict[str, object], kind: str) -> None:
    with pytest.raises(ModelError, match=rf"an autoencoder that restores scans; found one of kind {kind}\."):
        restorer(AddOne(), (8, 8, 8), **settings)


def test_an_output_that_is_not_finite_is_refused() -> None:
    tool = restorer(AddOne(float("nan")), (8, 8, 8), **NOISE)
    given = scan(8, 8, 8)
    with pytest.raises(ModelError, match=r"intensities from the network; found values that are not finite"):
        tool.restore(given, prepare(given, tool.manifest.preprocessing))
