"""What an autoencoder is trained towards, on volumes of 8 x 8 x 8."""

from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.cache import CacheConfig
from pipeline.config.network import NetworkConfig
from pipeline.inference.precision import Compute
from pipeline.networks.autoencoder import Autoencoder, Code, Reconstruction
from pipeline.preprocessing.fitted import FittedPreprocessing, ScanNormalisation
from pipeline.preprocessing.prepare import prepare
from pipeline.samples.cache import CaseCache, PreparedCase, StoredCase
from pipeline.samples.corrupted import corrupted
from pipeline.scan import Scan
from pipeline.training.reconstruction import (
    ReconstructionObjective,
    ValidationPatch,
    intensity_bounds,
    validation_patches,
    warmed_up,
)

CPU = Compute(torch.device("cpu"), "fp32")
FITTED = FittedPreprocessing(
    spacing_mm=(1.0, 1.0, 1.0), crop="none", channels=(ScanNormalisation(),), resampling_order=1, anisotropy_ratio=3
)


def config(**settings: object) -> AutoencoderConfig:
    return AutoencoderConfig.model_validate(settings)


def objective(settings: AutoencoderConfig, *patches: ValidationPatch) -> ReconstructionObjective:
    return ReconstructionObjective(settings, (-2.0, 2.0), [partial(copy, each) for each in patches], CPU, dimensions=3)


def patch(case: str, scan: Tensor, seen: Tensor | None = None) -> ValidationPatch:
    whole = tuple(slice(0, n) for n in scan.shape[1:])
    return ValidationPatch(case, scan if seen is None else seen, scan, torch.ones(1, *scan.shape[1:]).bool(), whole)


class Fixed(nn.Module):
    """Gives out what it gets plus one, through the code that it was given."""

    def __init__(self, code: Code) -> None:
        super().__init__()
        self.code = code

    def forward(self, x: Tensor) -> Reconstruction:
        return Reconstruction(x + 1, self.code)


@pytest.fixture
def scans(tmp_path: Path) -> list[StoredCase]:
    cache = CaseCache(CacheConfig(folder=tmp_path / "cache"))
    stored = []
    for number, size in enumerate((8, 12)):
        array = np.random.default_rng(number).normal(0, 1, (1, size, size, size)).astype(np.float32)
        prepared = prepare(Scan(array, np.eye(4), Path("scan.nii")), FITTED)
        case = PreparedCase(f"case {number}", prepared.image, np.ones([size] * 3, np.uint8), (), prepared.trail)
        stored.append(cache.get(str(number), partial(copy, case)))
    return stored


def test_the_loss_is_between_the_output_and_the_scan_as_it_was() -> None:
    batch = {"image": torch.zeros(2, 1, 8, 8, 8), "target": torch.full((2, 1, 8, 8, 8), 3.0)}
    batch["counted"] = torch.ones(2, 1, 8, 8, 8, dtype=torch.bool)
    settings = config(kind="denoising", corruption={"noise": (0, 1)})
    assert float(objective(settings).loss(Fixed(Code(torch.zeros(2, 4))), batch, 0)) == 4.0  # (0 + 1 - 3)^2


def test_voxels_that_do_not_count_have_no_loss() -> None:
    target, counted = torch.ones(1, 1, 8, 8, 8), torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    counted[..., 0] = True
    target[..., 0] = 3.0
    batch = {"image": torch.zeros(1, 1, 8, 8, 8), "target": target, "counted": counted}
    assert float(objective(config()).loss(Fixed(Code(torch.zeros(1, 4))), batch, 0)) == 4.0


def test_the_divergence_of_a_variational_code_counts_more_and_more_over_the_warm_up() -> None:
    batch = {"image": torch.zeros(1, 1, 2, 2, 2), "target": torch.ones(1, 1, 2, 2, 2)}
    batch["counted"] = torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    settings = config(kind="variational", variational={"beta": 8.0, "warmup_steps": 4})
    code = Code(torch.tensor([[1.0, 1.0]]), torch.zeros(1, 2))  # a divergence of 1 nat, an eighth a voxel
    losses = [float(objective(settings).loss(Fixed(code), batch, step)) for step in (0, 1, 3, 9)]
    assert losses == [0.25, 0.5, 1.0, 1.0]
    assert warmed_up(2.0, 0, 0) == 2.0


def test_the_penalty_of_a_sparse_code_is_part_of_the_loss() -> None:
    batch = {"image": torch.zeros(1, 1, 2, 2, 2), "target": torch.ones(1, 1, 2, 2, 2)}
    batch["counted"] = torch.ones(1, 1, 2, 2, 2, dtype=torch.bool)
    light, heavy = (config(kind="sparse", sparsity={"weight": weight}) for weight in (1.0, 2.0))
    one, two = (float(objective(each).loss(Fixed(Code(torch.ones(1, 4))), batch, 0)) for each in (light, heavy))
    assert 0 < one == pytest.approx(two / 2)


def test_validation_gives_errors_that_can_be_worked_out_by_hand() -> None:
    noise = torch.full((1, 8, 8, 8), 2.0)
    settings = config(kind="denoising", corruption={"noise": (0, 1)})
    scan = torch.zeros(1, 8, 8, 8)
    found = objective(settings, patch("a", scan), patch("b", scan, noise)).validate(Fixed(Code(torch.zeros(1, 4))))
    assert found is not None
    assert found.metrics["mse"] == (1**2 + 3**2) / 2
    assert found.metrics["l1"] == (1 + 3) / 2
    # 10 log10(range^2 / mse) of a range of 4
    assert found.metrics["psnr"] == pytest.approx((10 * np.log10(16 / 1) + 10 * np.log10(16 / 9)) / 2)
    assert found.metrics["input_mse"] == (0 + 2**2) / 2
    assert objective(settings).score(found) == -5.0
    assert [float(image.mean()) for _, image in found.shown] == [1.0, 3.0]
    assert found.cases == ["a", "b"]


def test_without_validation_scans_there_is_nothing_to_find() -> None:
    assert objective(config()).validate(Fixed(Code(torch.zeros(1, 4)))) is None


def test_a_unit_is_active_where_it_differs_between_scans() -> None:
    class Means(nn.Module):
        """Its code has the mean of the scan, and a unit that is always the same."""

        def forward(self, x: Tensor) -> Reconstruction:
            mean = x.flatten(1).mean(1, keepdim=True)
            return Reconstruction(x, Code(torch.cat([mean, torch.ones_like(mean)], 1), torch.zeros(len(x), 2)))

    settings = config(kind="variational", code_size=2, variational={"beta": 1})
    patches = [patch(str(number), torch.full((1, 8, 8, 8), float(number))) for number in range(3)]
    found = objective(settings, *patches).validate(Means())
    assert found is not None
    assert found.metrics["active_units"] == 1
    # means 0, 1, 2 have divergences 0, 1/2, 2; the other unit 1/2 each time
    assert found.metrics["kl"] == pytest.approx(2.5 / 3 + 0.5)
    assert found.metrics["kl_per_unit"] == pytest.approx((2.5 / 3 + 0.5) / 2)
    assert found.codes.tolist() == [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]]
    # a variational network is judged by the whole of its bound: here the divergence alone, a number of the scan
    assert objective(settings).score(found) == pytest.approx(-found.metrics["kl"] / 8**3)


def test_the_divergence_of_a_feature_map_is_the_sum_over_its_places() -> None:
    code = Code(torch.ones(1, 2, 4, 4, 4), torch.zeros(1, 2, 4, 4, 4))
    settings = config(kind="variational", variational={"beta": 1})
    found = objective(settings, patch("a", torch.zeros(1, 8, 8, 8))).validate(Fixed(code))
    assert found is not None
    assert (found.metrics["kl"], found.metrics["kl_per_unit"]) == (64.0, 0.5)
    assert "active_units" not in found.metrics


def test_the_divergence_weighs_the_same_beside_a_scan_that_is_smaller_than_the_patch() -> None:
    settings = config(kind="variational", variational={"beta": 1.0})
    code = Code(torch.ones(1, 2), torch.zeros(1, 2))  # 1 nat
    batch = {"image": torch.zeros(1, 1, 8, 8, 8), "target": torch.ones(1, 1, 8, 8, 8)}
    batch["counted"] = torch.zeros(1, 1, 8, 8, 8, dtype=torch.bool)
    batch["counted"][..., :4] = True
    assert float(objective(settings).loss(Fixed(code), batch, 0)) == pytest.approx(1 / (8 * 8 * 4))


def test_a_masked_network_is_judged_by_what_was_masked() -> None:
    class RightWhereMasked(nn.Module):
        """Gives back the scan, 0, where the first half was masked, and is far off elsewhere."""

        def forward(self, x: Tensor) -> Reconstruction:
            found = torch.full_like(x, 100.0)
            found[..., :4] = 0
            return Reconstruction(found, Code(torch.zeros(1, 2)))

    whole = patch("a", torch.zeros(1, 8, 8, 8))
    counted = torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    counted[..., :4] = True
    settings = config(kind="denoising", corruption={"masked_share": 0.5, "only_masked": True})
    found = objective(settings, replace(whole, counted=counted)).validate(RightWhereMasked())
    assert found is not None
    assert found.metrics["mse"] == 0
    assert "ssim" not in found.metrics


def test_a_scan_too_thin_for_structures_to_be_compared_has_its_other_errors() -> None:
    found = objective(config(), patch("a", torch.zeros(1, 8, 8, 3))).validate(Fixed(Code(torch.zeros(1, 4))))
    assert found is not None
    assert set(found.metrics) == {"mse", "l1", "psnr"}


def test_the_first_patch_of_each_of_some_cases_is_kept_to_be_drawn() -> None:
    patches = [patch(f"case {number // 2}", torch.full((1, 8, 8, 8), float(number))) for number in range(12)]
    found = objective(config(), *patches).validate(Fixed(Code(torch.zeros(1, 4))))
    assert found is not None
    assert [each.case for each, _ in found.shown] == ["case 0", "case 1", "case 2", "case 3"]
    assert [float(image.mean()) for _, image in found.shown] == [1.0, 3.0, 5.0, 7.0]


def test_the_share_of_active_units_of_a_sparse_code_is_told() -> None:
    settings = config(kind="sparse", sparsity={"weight": 1})
    code = Code(torch.tensor([[0.0, 0.0, 0.0, 2.0]]))
    found = objective(settings, patch("a", torch.zeros(1, 8, 8, 8))).validate(Fixed(code))
    assert found is not None
    assert found.metrics["active_share"] == 0.25
    assert "active_units" not in found.metrics  # of one scan, nobody can tell which differ


def test_validation_patches_are_the_same_each_time_and_more_where_a_scan_is_larger(scans: list[StoredCase]) -> None:
    settings = config(kind="denoising", corruption={"noise": (0.5, 0.5)})
    one, again = ([make() for make in validation_patches(scans, settings, (8, 8, 8), seed=3)] for _ in range(2))
    assert [each.case for each in one] == ["case 0"] + ["case 1"] * 4
    pairs = list(zip(one, again, strict=True))
    assert all(torch.equal(a.image, b.image) and torch.equal(a.target, b.target) for a, b in pairs)
    assert torch.equal(one[0].target, torch.from_numpy(np.array(scans[0].image())))
    assert float((one[0].image - one[0].target).std()) == pytest.approx(0.5, rel=0.1)
    other = [make() for make in validation_patches(scans, settings, (8, 8, 8), seed=4)]
    assert not torch.equal(one[0].image, other[0].image)


def test_errors_are_those_of_the_voxels_that_lie_in_the_scan(scans: list[StoredCase]) -> None:
    first = validation_patches(scans[:1], config(), (12, 10, 8), seed=0)[0]()
    assert first.box == (slice(2, 10), slice(1, 9), slice(0, 8))
    assert first.target.shape == (1, 12, 10, 8)

    class OneInside(nn.Module):
        """Is off by one in the scan, and by ten beside it."""

        def forward(self, x: Tensor) -> Reconstruction:
            wrong = torch.full_like(x, 10.0)
            first.of_scan(wrong)[:] = 1.0
            return Reconstruction(x + wrong, Code(torch.zeros(1, 4)))

    found = objective(config(), first).validate(OneInside())
    assert found is not None
    assert found.metrics["mse"] == pytest.approx(1.0)


def test_a_sample_counts_what_lies_in_the_scan_and_is_0_beside_it() -> None:
    scan, inside = torch.ones(1, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.bool)
    inside[:, :4] = True
    settings = config(
        kind="denoising",
        corruption={"noise": (1, 1), "masked_share": 0.5, "masked_block_voxels": 2, "only_masked": True},
    )
    sample = corrupted(scan, inside, settings.corruption, rng=np.random.default_rng(0))
    assert not sample["counted"][:, 4:].any()
    assert 0.3 < float(sample["counted"][:, :4].float().mean()) < 0.7
    assert float(sample["image"][:, 4:].abs().max()) == 0
    assert torch.equal(sample["target"], scan)


def test_patches_of_images_have_two_axes(scans: list[StoredCase]) -> None:
    assert validation_patches(scans, config(), (8, 8), seed=0)[0]().target.shape == (1, 8, 8)


def test_the_bounds_hold_most_intensities(scans: list[StoredCase]) -> None:
    low, high = intensity_bounds(scans)
    assert low == pytest.approx(-2.6, abs=0.3)  # the 0.5 percentile of a standard normal distribution
    assert high == pytest.approx(2.6, abs=0.3)


def test_an_autoencoder_learns_two_scans_by_heart() -> None:
    torch.manual_seed(0)
    stages = NetworkConfig(features=(8, 8), skips=(False,), deep_supervision=0)
    network = Autoencoder(stages, config(code_size=8), channels=1, patch_size=(8, 8, 8))
    index = torch.stack(torch.meshgrid(*[torch.arange(8)] * 3, indexing="ij"))
    balls = torch.stack([((index - centre) ** 2).sum(0) < 9 for centre in (2, 5)])[:, None].float()
    batch = {"image": balls, "target": balls, "counted": torch.ones_like(balls, dtype=torch.bool)}
    optimiser = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for step in range(60):
        loss = objective(config(code_size=8)).loss(network, batch, step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * float(balls.var())
