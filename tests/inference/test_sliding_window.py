import subprocess
import sys
from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers.utils import sliding_window_inference
from torch import Tensor

from pipeline.config.cache import CacheConfig
from pipeline.inference.sliding_window import gaussian, mirrored, pad_to, slide, sliding_window
from pipeline.inference.windows import nesting, starts
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import plan_trail
from pipeline.samples.cache import CaseCache, PreparedCase
from pipeline.samples.patches import cut
from pipeline.scan import Scan


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def recording(seen: list[Tensor]) -> Callable[[Tensor], Tensor]:
    """A network that gives its input back and keeps it."""

    def network(batch: Tensor) -> Tensor:
        seen.append(batch.clone())
        return batch.clone()

    return network


def by_position(batch: Tensor) -> Tensor:
    """Logits that depend on where in the patch a voxel lies, as a network's do near the border of its patch."""
    ramp = torch.linspace(-1, 1, batch[0, 0].numel()).reshape(batch.shape[2:])
    return torch.cat([batch, batch * ramp, ramp.expand_as(batch)], 1)


def test_weights_are_a_gaussian_of_an_eighth_of_the_patch() -> None:
    # 8 voxels: deviation 1, distances 0.5, 1.5, 2.5, 3.5
    half = [np.exp(-(d**2) / 2) for d in (3.5, 2.5, 1.5, 0.5)]
    np.testing.assert_allclose(gaussian((8,)), [*half, *half[::-1]], rtol=1e-5)


def test_weights_are_monai_s_but_for_the_smallest() -> None:
    ours = gaussian((8, 12, 16))
    theirs = compute_importance_map((8, 12, 16), mode="gaussian", sigma_scale=0.125, dtype=torch.float32)
    torch.testing.assert_close(ours.clamp_min(1e-3), theirs.clamp_min(1e-3))
    assert ours.min() == pytest.approx(1e-4)


@pytest.mark.parametrize("overlap", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(8, 8, 8), (13, 9, 20), (5, 8, 11)])
def test_a_constant_network_gives_its_probabilities_everywhere(shape: tuple[int, ...], overlap: float) -> None:
    logits = torch.tensor([1.0, -2.0, 0.5])
    probabilities = sliding_window(
        lambda batch: logits.view(1, 3, 1, 1, 1).expand(1, 3, *batch.shape[2:]).clone(),
        noise(2, *shape),
        (8, 8, 8),
        overlap=overlap,
    )
    expected = (logits.exp() / logits.exp().sum()).view(3, 1, 1, 1).expand(3, *shape)
    torch.testing.assert_close(probabilities, expected)


@pytest.mark.parametrize("shape", [(8, 8, 8), (13, 9, 20), (5, 8, 11), (3, 4, 5)])
def test_a_network_that_repeats_its_input_gives_the_softmax_of_the_image(shape: tuple[int, ...]) -> None:
    image = noise(3, *shape)
    probabilities = sliding_window(torch.clone, image, (8, 8, 8), overlap=0.5)
    torch.testing.assert_close(probabilities, image.softmax(0))


def in_one_go(
    network: Callable[[Tensor], Tensor], image: Tensor, patch_size: tuple[int, ...], overlap: float = 0.5
) -> Tensor:
    """Means from sums over the whole image."""
    weights, spatial = gaussian(patch_size), tuple(image.shape[1:])
    sums, mass = torch.zeros(3, *spatial), torch.zeros(spatial)
    for corner in product(*(starts(n, p, overlap) for n, p in zip(spatial, patch_size, strict=True))):
        box = tuple(slice(first, first + p) for first, p in zip(corner, patch_size, strict=True))
        sums[(slice(None), *box)] += network(image[(slice(None), *box)][None])[0].softmax(0) * weights
        mass[box] += weights
    return sums / mass


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("shape", [(8, 8, 8), (30, 9, 9), (9, 20, 10), (13, 9, 20)])
def test_the_means_are_those_of_sums_over_the_whole_image(shape: tuple[int, ...], overlap: float) -> None:
    image = noise(1, *shape)
    found = sliding_window(by_position, image, (8, 8, 8), overlap=overlap)
    torch.testing.assert_close(found, in_one_go(by_position, image, (8, 8, 8), overlap), rtol=0, atol=5e-6)


def test_windows_of_a_slice_advance_from_slice_to_slice() -> None:
    image = noise(1, 20, 13, 6)
    assert nesting((20, 13, 6), (16, 12, 1))[0] == 2
    found = sliding_window(by_position, image, (16, 12, 1), overlap=0.5)
    torch.testing.assert_close(found, in_one_go(by_position, image, (16, 12, 1)), rtol=0, atol=1e-6)


def test_a_block_is_handed_out_once_no_window_touches_it_any_more() -> None:
    seen: list[Tensor] = []
    blocks = slide(recording(seen), noise(2, 10, 4, 4), (5, 4, 4), overlap=0.5)
    # windows begin at planes 0, 2, 3 and 5 (5/3 and 10/3, rounded)
    handed_out = [(block.box[0], block.scores.shape[1], len(seen)) for block in blocks]
    firsts = [(slice(0, 2), 2, 1), (slice(2, 3), 1, 2), (slice(3, 5), 2, 3)]
    assert handed_out == [*firsts, (slice(5, 7), 2, 4), (slice(7, 8), 1, 4), (slice(8, 10), 2, 4)]


def test_blocks_that_are_kept_do_not_change_as_windows_go_on() -> None:
    blocks, copies = [], []
    for block in slide(by_position, noise(1, 30, 9, 8), (8, 8, 8), overlap=0.8):
        blocks.append(block.scores)
        copies.append(block.scores.clone())
    assert all(torch.equal(block, copy) for block, copy in zip(blocks, copies, strict=True))


def test_memory_is_that_of_a_layer_whatever_the_length_of_the_image() -> None:
    def peak_gb(planes: int) -> float:
        return float(subprocess.run([sys.executable, "-c", PEAK, str(planes)], capture_output=True, check=True).stdout)

    # 25 classes of 96 x 96 voxels in 4 bytes: 0.9 MB a plane, 15 MB a layer of 16, 1.8 GB for 2000 planes
    assert peak_gb(2000) - peak_gb(100) < 0.1


PEAK = """
import resource, sys, torch
from pipeline.inference.sliding_window import slide
torch.set_num_threads(1)
image = torch.zeros(1, 1, 1, 1).expand(1, int(sys.argv[1]), 96, 96)
for block in slide(lambda batch: batch.expand(1, 25, *batch.shape[2:]).clone(), image, (16, 96, 96), overlap=0.5):
    assert block.scores.shape[0] == 25
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)
"""
"""Prints the most memory that a process has held, in GB, having slid over so many planes."""


def test_images_are_windowed_as_volumes_are() -> None:
    image = noise(3, 13, 20)
    torch.testing.assert_close(sliding_window(torch.clone, image, (8, 6), overlap=0.5), image.softmax(0))


@pytest.mark.parametrize("shape", [(8, 8, 8), (16, 12, 20)])
def test_patches_are_blended_as_monai_does(shape: tuple[int, ...]) -> None:
    # (size - patch) is a multiple of the step 4, so that the patches of both lie in the same places
    image = noise(1, *shape)
    theirs = sliding_window_inference(
        image[None],
        (8, 8, 8),
        1,
        lambda batch: by_position(batch).softmax(1),
        overlap=0.5,
        mode="gaussian",
        roi_weight_map=gaussian((8, 8, 8)),
    )
    assert isinstance(theirs, Tensor)
    torch.testing.assert_close(sliding_window(by_position, image, (8, 8, 8), overlap=0.5), theirs[0])


def test_probabilities_sum_to_1_in_single_precision_whatever_the_network_computes_in() -> None:
    probabilities = sliding_window(
        lambda batch: by_position(batch).bfloat16(), noise(1, 11, 9, 8), (8, 8, 8), overlap=0.5
    )
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(0), torch.ones(11, 9, 8))


def test_a_small_image_is_padded_with_zeros_on_both_sides() -> None:
    seen: list[Tensor] = []
    image = noise(1, 5, 8, 2)
    sliding_window(recording(seen), image, (8, 8, 4), overlap=0.5)
    assert len(seen) == 1
    # the image's middle, 5 // 2 and 2 // 2, lies at the patch's, 8 // 2 and 4 // 2: 2 before and 1 after; 1 and 1
    expected = torch.zeros(1, 1, 8, 8, 4)
    expected[0, :, 2:7, :, 1:3] = image
    assert torch.equal(seen[0], expected)


@pytest.mark.parametrize("shape", [(5, 4, 7), (1, 6, 2), (8, 3, 8)])
def test_a_small_image_is_padded_as_training_pads_it(shape: tuple[int, ...], tmp_path: Path) -> None:
    image = noise(1, *shape).numpy()
    fitted = FittedPreprocessing(
        spacing_mm=None, crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
    )
    trail = plan_trail(Scan(image.copy(), np.eye(4), Path("scan.nii")), fitted)
    case = PreparedCase("small", image, np.zeros(shape, np.uint8), (), trail)
    stored = CaseCache(CacheConfig(folder=tmp_path)).get("small", lambda: case)
    patch, *_ = cut(stored, tuple(n // 2 for n in shape), (8, 8, 8))
    padded, inner = pad_to(torch.from_numpy(image), (8, 8, 8))
    np.testing.assert_array_equal(padded, patch)
    np.testing.assert_array_equal(padded[(slice(None), *inner)], image)


@pytest.mark.parametrize("axes", [(0,), (0, 2), (0, 1, 2)])
def test_mirroring_is_the_mean_over_all_flips(axes: tuple[int, ...]) -> None:
    batch = noise(1, 1, 4, 5, 6)
    views = [[axis + 2 for axis in chosen] for count in range(4) for chosen in combinations(axes, count)]
    assert len(views) == 2 ** len(axes)
    expected = torch.stack([by_position(batch.flip(view)).softmax(1).flip(view) for view in views]).mean(0)
    torch.testing.assert_close(mirrored(by_position, axes)(batch).softmax(1), expected)


def test_mirroring_along_no_axis_changes_no_probability() -> None:
    batch = noise(1, 1, 4, 5, 6)
    torch.testing.assert_close(mirrored(by_position, ())(batch).softmax(1), by_position(batch).softmax(1))


def test_mirroring_stands_a_class_that_is_impossible() -> None:
    certain = mirrored(lambda batch: torch.cat([batch + 200, batch], 1), (0,))  # exp(-200) is 0 in single precision
    probabilities = sliding_window(certain, noise(1, 4, 4), (4, 4), overlap=0.5)
    torch.testing.assert_close(probabilities, torch.tensor([1.0, 0.0]).view(2, 1, 1).expand(2, 4, 4))
