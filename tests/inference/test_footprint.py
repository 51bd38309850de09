"""What segmenting takes, beside what a process is measured to take."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.errors import ScanError
from pipeline.inference.features import MOST_VOXELS
from pipeline.inference.footprint import SEEN_VOXELS, check_fits, estimate_gb, footprint, needed_bytes
from pipeline.inference.windows import KEPT_BYTES, WindowGrid, most_held
from pipeline.manifest import Manifest, read_manifest
from pipeline.preprocessing.prepare import Trail, plan_uncropped
from pipeline.scan import ScanHeader

WriteModel = Callable[..., Path]
PLAIN = InferenceConfig()
SPACINGS = {"own": None, "coarse": (2.0, 2.0, 2.0)}


def manifest_of(folder: Path, labels: int, patch_size: tuple[int, ...] = (64, 64, 64)) -> Manifest:
    changed = {"labels": {f"label {value}": value for value in range(1, labels + 1)}, "patch_size": patch_size}
    return read_manifest(folder).model_copy(update=changed)


def header(*shape: int, channels: int = 1) -> ScanHeader:
    return ScanHeader(shape, channels, np.eye(4))


def trail_of(manifest: Manifest, *shape: int) -> Trail:
    return plan_uncropped(header(*shape), manifest.preprocessing)


def test_the_parts_follow_from_the_sizes(write_model: WriteModel) -> None:
    manifest = manifest_of(write_model(), labels=104)
    parts = footprint(trail_of(manifest, 300, 300, 600), manifest, PLAIN)
    held = most_held(WindowGrid((300, 300, 600), (64, 64, 64), 0.5))
    assert 32 * 300 * 300 < held.total < 64 * 300 * 300  # half a patch deep, and the row of windows at work
    assert parts.image == 0
    assert parts.sums == 106 * held.total * 4  # 105 classes and the weights
    assert parts.handed_out == 105 * 2 * 32**3 * 4
    assert parts.mask == 3 * 300 * 300 * 600
    assert parts.probabilities == 0
    assert parts.total < 3.2e9  # the sums of the whole volume would be 23 GB
    masks = footprint(trail_of(manifest, 300, 300, 1200), manifest, PLAIN)
    assert (masks.sums, masks.window) == (parts.sums, parts.window)  # the length does not matter


def test_of_a_large_scan_the_cells_that_wait_are_held_in_a_byte_a_class(write_model: WriteModel) -> None:
    manifest = manifest_of(write_model(), labels=100, patch_size=(96, 96, 96))
    parts = footprint(trail_of(manifest, 512, 512, 600), manifest, PLAIN)
    held = most_held(WindowGrid((512, 512, 600), (96, 96, 96), 0.5))
    assert parts.sums == (101 + 4) * held.total
    assert parts.sums < 1.8e9 < 102 * 4 * held.total


def test_of_a_scan_that_is_resampled_planes_between_blocks_count(write_model: WriteModel) -> None:
    plain, resampled = (manifest_of(write_model(name, spacing_mm=mm), labels=9) for name, mm in SPACINGS.items())
    trails = trail_of(plain, 200, 100, 100), trail_of(resampled, 400, 200, 200)
    assert trails[0].shape == trails[1].shape
    first, second = (
        footprint(trail, each, PLAIN).handed_out for trail, each in zip(trails, (plain, resampled), strict=True)
    )
    # layers along the first axis, half a patch deep: twice 100 x 100, and twice 32 x 100
    assert second - first == 10 * 4 * 2 * (100 * 100 + 32 * 100)


def test_a_scan_that_is_smaller_than_the_patch_is_padded_and_has_one_row_of_cells(write_model: WriteModel) -> None:
    manifest = manifest_of(write_model(), labels=2)
    parts = footprint(trail_of(manifest, 10, 20, 100), manifest, PLAIN)
    assert parts.image == 64 * 64 * 100 * 4
    assert parts.sums == 4 * 64 * 64 * 64 * 4  # of two cells, the second has what the first window has of it


def test_probability_maps_are_of_both_grids(write_model: WriteModel) -> None:
    model = write_model(spacing_mm=(2.0, 2.0, 2.0))
    manifest, config = manifest_of(model, labels=9), InferenceConfig(probability_maps=True)
    parts = footprint(trail_of(manifest, 200, 200, 200), manifest, config)
    assert parts.probabilities == (10 * (100**3 + 200**3) + 200**3) * 4


def test_an_estimate_counts_the_scan_and_what_is_prepared_of_it(write_model: WriteModel) -> None:
    manifest = manifest_of(write_model(spacing_mm=(2.0, 2.0, 2.0)), labels=2)
    needed = needed_bytes(trail_of(manifest, 200, 200, 200), manifest, manifest.inference)
    assert estimate_gb(header(200, 200, 200), manifest) == pytest.approx(
        (needed + 4 * (200**3 + 100**3)) / 1e9, rel=1e-9
    )


def test_a_scan_that_fits_or_of_which_nobody_knows_is_not_refused(write_model: WriteModel) -> None:
    manifest = manifest_of(write_model(), labels=2)
    trail = trail_of(manifest, 100, 100, 100)
    needed = needed_bytes(trail, manifest, PLAIN)
    check_fits(trail, manifest, PLAIN, free_bytes=needed)
    check_fits(trail, manifest, PLAIN, free_bytes=None)
    with pytest.raises(ScanError, match="a scan that fits into memory"):
        check_fits(trail, manifest, PLAIN, free_bytes=needed - 1)


def test_what_is_kept_of_a_window_of_one_value_counts_where_it_is_kept(write_model: WriteModel) -> None:
    assert SEEN_VOXELS == MOST_VOXELS
    few, many = (manifest_of(write_model(), labels=labels) for labels in (2, 104))
    channels = sum(few.network.features)
    kept = 4 * (3 * 64**3 + channels * 20_000)
    assert kept < KEPT_BYTES < 4 * 105 * 64**3
    windows = [footprint(trail_of(each, 100, 100, 100), each, PLAIN).window for each in (few, many)]
    assert windows[0] == kept + 4 * max(10 * few.network.features[0], 4 * 3) * 64**3
    assert windows[1] == 4 * 4 * 105 * 64**3  # too many classes


def test_the_refusal_says_how_much_and_what_would_help(write_model: WriteModel) -> None:
    manifest = manifest_of(write_model(), labels=104)
    config = InferenceConfig(probability_maps=True, readers=3)
    with pytest.raises(ScanError) as refused:
        check_fits(trail_of(manifest, 300, 300, 600), manifest, config, free_bytes=3_500_000_000)
    # sums 1.55 GB, window 0.44, mask 0.16, fixed 0.22; probabilities (2 x 105 + 1) x 54e6 voxels x 4 bytes = 45.58
    assert str(refused.value) == (
        "Expected a scan that fits into memory; found one that needs about 48.0 GB, where 3.5 GB are free. "
        "Take a machine with more memory, or crop the scan. "
        "Without inference.probability_maps it needs about 2.4 GB. Fewer inference.readers than 3 leave more."
    )


MEASURED = """
import json, sys
from pathlib import Path
import numpy as np
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.inference.predictor import Predictor
from pipeline.manifest import Manifest
from pipeline.model import Model
from pipeline.networks.unet import UNet
from pipeline.preprocessing.prepare import Prepared, plan_uncropped
from pipeline.scan import ScanHeader

def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

manifest = Manifest.model_validate_json(Path("manifest.json").read_text())
network = UNet(manifest.network, 1, len(manifest.labels) + 1).eval()
predictor = Predictor(Model(manifest, network), manifest.inference)
shape = tuple(json.loads(sys.argv[1]))
trail = plan_uncropped(ScanHeader(shape, 1, np.eye(4)), manifest.preprocessing)
prepared = Prepared(np.random.default_rng(0).standard_normal((1, *trail.shape), dtype=np.float32), trail)
Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
before = status("VmRSS:")
predictor.segment(prepared)
print(status("VmHWM:") - before)
"""
"""Prints how many bytes segmenting a scan of noise took at most."""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize(
    ("shape", "labels", "patch_size", "changed"),
    [
        pytest.param((256, 256, 100), 2, (64, 64, 64), {}, id="few classes"),
        pytest.param((256, 256, 100), 2, (64, 64, 64), {"backend": "torch"}, id="few classes in PyTorch"),
        pytest.param((120, 120, 100), 39, (48, 48, 48), {"overlap": 0.0}, id="many classes"),
        pytest.param((160, 160, 80), 9, (48, 48, 48), {"probability_maps": True}, id="probabilities"),
        pytest.param((250, 250, 100), 2, (64, 64, 64), {"keep_largest": ("label 1",)}, id="connected parts"),
    ],
)
def test_a_process_takes_about_what_was_told(
    write_model: WriteModel,
    tmp_path: Path,
    shape: tuple[int, ...],
    labels: int,
    patch_size: tuple[int, ...],
    changed: dict[str, Any],
) -> None:
    config = InferenceConfig.model_validate({"device": "cpu", "precision": "fp32", "threads": 1, **changed})
    network = NetworkConfig(features=(8, 16), deep_supervision=0)
    base = manifest_of(write_model(spacing_mm=(1.3, 1.3, 1.3)), labels, patch_size)
    manifest = base.model_copy(update={"network": network, "inference": config})
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, json.dumps(shape)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    measured, told = int(done.stdout), needed_bytes(trail_of(manifest, *shape), manifest, config)
    assert measured <= told <= 2 * measured + 2e8
