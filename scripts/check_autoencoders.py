"""What must be true of the autoencoders; each check writes a dated JSON file under docs/acceptance/.

kinds        each kind, trained from its shipped configuration, against what is known for as many numbers or as much
             noise: principal components of the scan and of its blocks, Gaussian smoothing, median, non-local means
restoration  PSNR and SSIM of denoising and of super-resolution, at several levels, beside the classical methods
sweep        error against the size of an undercomplete code, with three and four stages, after as many steps

    python scripts/check_autoencoders.py --data FOLDER [--minutes M] [--runs FOLDER] [kinds] [restoration] [sweep]

FOLDER holds the data sets, of which the hippocampus is used. Errors are mean squares over the voxels that lie in the
scan, on the cases kept for testing, in units of the normalised intensities.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, median_filter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means
from sklearn.decomposition import PCA
from torch import Tensor

from pipeline.config.data import DataConfig
from pipeline.files import write_json
from pipeline.inference.sliding_window import pad_to
from pipeline.layouts.case_files import read_image
from pipeline.layouts.discover import discover_scans
from pipeline.layouts.split import read_split
from pipeline.losses.code import divergences
from pipeline.losses.reconstruction import as_image
from pipeline.model import AutoencoderModel, load_autoencoder
from pipeline.networks.autoencoder import Reconstruction
from pipeline.preprocessing.prepare import prepare
from pipeline.preprocessing.resample import resample_image
from pipeline.provenance import code_commit
from pipeline.training.reconstruction import ACTIVE_VARIANCE

ROOT = Path(__file__).resolve().parent.parent
RECORDS = ROOT / "docs" / "acceptance"
KINDS = ("undercomplete", "sparse", "denoising", "variational")
BLOCK = 8
"""Voxels along the side of a block: as far as the shipped networks step in all, so that block and place correspond."""
NOISE = 0.35
"""Standard deviation at which denoising is compared: the middle of what the shipped configuration trains on."""
SAMPLES = 16
NOISE_LEVELS, FACTORS = (0.15, 0.35, 0.55), (2, 3, 4)
SWEPT = {4: (2, 4, 8, 16, 32), 3: (1, 2, 4)}
"""Stages of the network, and channels of the code; three stages leave eight times as many places as four."""
SWEPT_EPOCHS, SWEPT_STEPS = 6, 100


@dataclass(frozen=True, eq=False)
class Patch:
    """A scan in the middle of a patch of zeros (1, C, I, J, K), and where it lies in it."""

    image: Tensor
    inside: tuple[slice, ...]

    def error(self, found: NDArray | Tensor) -> float:
        """Mean squared error over the scan."""
        difference = np.asarray(found).reshape(self.image.shape) - self.image.numpy()
        return float((difference[(0, slice(None), *self.inside)] ** 2).mean())


def main() -> int:
    """Make the measurements that were asked for; 1 where one of them does not reach what is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("MEDSEG_TEST_DATA")
    parser.add_argument("--data", type=Path, default=given, required=given is None, help="folder of the data sets")
    parser.add_argument("--minutes", type=float, help="instead of those of the configurations")
    parser.add_argument("--runs", type=Path, help="where runs are kept; those that are there are not trained again")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=f"of {', '.join(CHECKS)}; by default all")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medseg-autoencoders-") as scratch:
        runs = (arguments.runs or Path(scratch)).resolve()
        runs.mkdir(parents=True, exist_ok=True)
        data = arguments.data.resolve() / "hippocampus"
        reached = [CHECKS[name](data, runs, arguments.minutes) for name in arguments.checks or CHECKS]
    return 0 if all(reached) else 1


def kinds(data: Path, runs: Path, minutes: float | None) -> bool:
    """Train each kind, and compare it with its baselines on unseen scans."""
    models = {name: train(name, data, runs, minutes=minutes) for name in KINDS}
    train_patches, test_patches = (
        scans_of(models[KINDS[0]], data, run=runs / KINDS[0], part=part) for part in ("train", "test")
    )
    results = {
        "test_scans": len(test_patches),
        "undercomplete": undercomplete(models["undercomplete"], train_patches, test_patches),
        "sparse": sparse(models["sparse"], train_patches, test_patches),
        "denoising": denoising(models["denoising"], test_patches),
        "variational": variational(models["variational"], test_patches),
    }
    checks = verdicts(results)
    seconds = {name: round(model.manifest.provenance.seconds) for name, model in models.items()}
    record = {"training_seconds": seconds, **results, "wanted": checks, "reached": all(checks.values())}
    write("autoencoders-kinds", record)
    print(json.dumps(record, indent=2))
    return all(checks.values())


def verdicts(results: dict[str, Any]) -> dict[str, bool]:
    """What each kind is to show."""
    under, noisy, drawn = results["undercomplete"], results["denoising"], results["variational"]
    return {
        "undercomplete beats principal components of as many numbers": under["mse"] < min(under["pca"].values()),
        "sparse beats the first components of each block, as many as it has active units": (
            results["sparse"]["mse"] < next(iter(results["sparse"]["pca"].values()))
        ),
        "denoising beats every filter": noisy["mse"] < min(noisy["filters"].values()),
        "variational units are active": drawn["active_units"] > 0,
        "samples are not one picture": drawn["distance_between_samples"] > 0.25 * drawn["distance_between_scans"],
    }


def train(name: str, data: Path, runs: Path, *, minutes: float | None) -> AutoencoderModel:
    """The autoencoder of a shipped configuration."""
    bound = [] if minutes is None else [f"training.max_minutes={minutes}"]
    return trained(runs / name, name, data, settings=bound)


def trained(run: Path, name: str, data: Path, *, settings: Sequence[str]) -> AutoencoderModel:
    """The autoencoder of a shipped configuration with other settings; one that is there is not trained again."""
    runs = run.parent
    if not (run / "model" / "model.json").exists():
        settings = [f"data.root={data}", f"cache.folder={runs / 'cache'}", *settings, "-o", str(run)]
        config = str(ROOT / "configs" / "autoencoders" / f"{name}.yaml")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        line = [sys.executable, "-m", "pipeline", "pretrain", config, *settings]
        subprocess.run(line, cwd=runs, env=environment | {"PYTHONPATH": str(ROOT)}, check=True)
    return load_autoencoder(run / "model")


def scans_of(model: AutoencoderModel, data: Path, *, run: Path, part: str) -> list[Patch]:
    """The scans of a part of the run's split, as the network sees them."""
    manifest, dataset = model.manifest, discover_scans(DataConfig(root=data))
    names = read_split(run / "split.json", (*dataset.cases, *dataset.unlabelled)).parts[part]
    patches = []
    for case in (case for case in dataset.cases if case.name in names):
        image = torch.from_numpy(prepare(read_image(case.images), manifest.preprocessing).image)
        padded, inner = pad_to(image, manifest.patch_size)
        middle = tuple(
            slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(padded.shape[1:], manifest.patch_size, strict=True)
        )
        inside = tuple(
            slice(max(i.start - m.start, 0), min(i.stop, m.stop) - m.start) for i, m in zip(inner, middle, strict=True)
        )
        patches.append(Patch(padded[(slice(None), *middle)][None].contiguous(), inside))
    return patches


def run(model: AutoencoderModel, image: Tensor) -> tuple[Tensor, Reconstruction]:
    """The reconstruction as an image, and all that the network gives."""
    with torch.inference_mode():
        found: Reconstruction = model.network(image)
    return as_image(found.output, config=model.manifest.autoencoder.loss, bounds=model.manifest.bounds), found


def undercomplete(model: AutoencoderModel, train: Sequence[Patch], test: Sequence[Patch]) -> dict[str, Any]:
    """Error against principal components of as many numbers: of blocks, and of the scan as a whole."""
    codes = [run(model, patch.image) for patch in test]
    numbers = codes[0][1].code.units[0].numel()
    blocks = block_pca(train)
    count = numbers // places(test[0])
    pca = {
        f"{count} of each block of {BLOCK} x {BLOCK} x {BLOCK}": mean(
            test, lambda patch: by_blocks(blocks, patch, count)
        ),
        "of the scan": mean(test, partial(by_scan, scan_pca(train, numbers))),
    }
    mse = float(np.mean([patch.error(image) for patch, (image, _) in zip(test, codes, strict=True)]))
    return {
        "numbers": numbers,
        "mse": mse,
        "pca": pca,
        "mse_of_the_mean_scan": mean(test, partial(by_scan, scan_pca(train, 0))),
    }


def sparse(model: AutoencoderModel, train: Sequence[Patch], test: Sequence[Patch]) -> dict[str, Any]:
    """Error against as many numbers of blocks' principal components as the code has active units."""
    found = [run(model, patch.image) for patch in test]
    active = [int((each.code.units > 0).sum()) for _, each in found]
    blocks, count = block_pca(train), max(1, round(float(np.mean(active)) / places(test[0])))
    largest = dict(zip(test, active, strict=True))
    return {
        "units": found[0][1].code.units[0].numel(),
        "active_units": float(np.mean(active)),
        "mse": float(np.mean([patch.error(image) for patch, (image, _) in zip(test, found, strict=True)])),
        "pca": {
            f"the first {count} of each block": mean(test, lambda patch: by_blocks(blocks, patch, count)),
            "the largest anywhere": mean(test, lambda patch: by_largest(blocks, patch, largest[patch])),
        },
    }


def denoising(model: AutoencoderModel, test: Sequence[Patch]) -> dict[str, Any]:
    """Error against filters, each with the setting that is best on these scans, at the same noise."""
    rng = np.random.default_rng(0)
    noisy = {patch: with_noise(patch, rng, NOISE) for patch in test}
    return {
        "noise": NOISE,
        "input_mse": mean(test, noisy.__getitem__),
        "mse": mean(test, lambda patch: run(model, noisy[patch])[0]),
        "filters": {
            name: min(mean(test, partial(filtered, noisy, each)) for each in settings)
            for name, settings in filters(NOISE).items()
        },
    }


def with_noise(patch: Patch, rng: np.random.Generator, level: float) -> Tensor:
    """A patch with noise on the scan, and none beside it."""
    noisy, noise = patch.image.clone(), rng.standard_normal(patch.image.shape, dtype=np.float32)
    box: tuple[Any, ...] = (..., *patch.inside)
    noisy[box] += level * torch.from_numpy(noise[box])
    return noisy


def restoration(data: Path, runs: Path, minutes: float | None) -> bool:
    """PSNR and SSIM of restored scans, beside the best that classical methods reach at the same level."""
    cleaner, sharper = (train(name, data, runs, minutes=minutes) for name in ("denoising", "super_resolution"))
    test = scans_of(cleaner, data, run=runs / "denoising", part="test")
    levels = {
        **{f"noise {level}": denoised(cleaner, test, level) for level in NOISE_LEVELS},
        **{f"{factor} times as thick": sharpened(sharper, test, factor) for factor in FACTORS},
    }
    better = {
        name: {
            metric: found["network"][metric] > max(each[metric] for each in found["others"].values())
            for metric in ("psnr", "ssim")
        }
        for name, found in levels.items()
    }
    reached = all(all(each.values()) for each in better.values())
    record = {"test_scans": len(test), "levels": levels, "better than all others": better, "reached": reached}
    write("autoencoders-restoration", record)
    print(json.dumps(record, indent=2))
    return reached


def denoised(model: AutoencoderModel, test: Sequence[Patch], level: float) -> dict[str, Any]:
    """Scans with noise of a deviation."""
    rng = np.random.default_rng(0)
    noisy = {patch: with_noise(patch, rng, level) for patch in test}
    others = {
        name: best([quality(test, partial(filtered, noisy, each)) for each in settings])
        for name, settings in filters(level).items()
    }
    network = quality(test, lambda patch: run(model, noisy[patch])[0])
    return {"network": network, "others": {"as it is": quality(test, noisy.__getitem__), **others}}


def sharpened(model: AutoencoderModel, test: Sequence[Patch], factor: int) -> dict[str, Any]:
    """Scans whose slices are so many times as thick, brought back by the network, linearly, and by cubic B-splines."""
    thick = {patch: thick_slices(patch, factor) for patch in test}
    others = {
        name: quality(test, partial(interpolated, thick, order)) for name, order in (("linear", 1), ("B-spline", 3))
    }
    network = quality(test, lambda patch: run(model, torch.from_numpy(interpolated(thick, 1, patch)))[0])
    return {"network": network, "others": others}


def thick_slices(patch: Patch, factor: int) -> NDArray:
    """The scan (I, J, K) with the mean of so many slices for one; what is left at its end goes into the last."""
    box: tuple[Any, ...] = (0, 0, *patch.inside)
    scan = patch.image[box]
    slices = max(1, round(scan.shape[2] / factor))
    pooled = torch.nn.functional.interpolate(scan[None, None], (*scan.shape[:2], slices), mode="area")
    return pooled[0, 0].numpy()


def interpolated(thick: dict[Patch, NDArray], order: int, patch: Patch) -> NDArray:
    """Thick slices at the size of the scan again, in the middle of the patch."""
    found = np.zeros(patch.image.shape, np.float32)
    box: tuple[Any, ...] = (0, 0, *patch.inside)
    found[box] = resample_image(thick[patch][None], found[box].shape, order=order, coarse=None)[0]
    return found


def quality(test: Sequence[Patch], restore: Callable[[Patch], NDArray | Tensor]) -> dict[str, float]:
    """Means over scans of PSNR in dB and SSIM, whose range is that of each scan."""
    rows = []
    for patch in test:
        box: tuple[Any, ...] = (0, 0, *patch.inside)
        truth, found = patch.image.numpy()[box], np.asarray(restore(patch)).reshape(patch.image.shape)[box]
        spread = float(truth.max() - truth.min())
        similar = structural_similarity(
            truth, found, data_range=spread, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        rows.append((peak_signal_noise_ratio(truth, found, data_range=spread), similar))
    psnr, ssim = np.mean(rows, axis=0)
    return {"psnr": round(float(psnr), 3), "ssim": round(float(ssim), 4)}


def best(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """The best of each metric, whichever setting reached it."""
    return {metric: max(each[metric] for each in found) for metric in found[0]}


def filters(level: float) -> dict[str, list[Callable[[NDArray], NDArray]]]:
    """Classical ways to take noise of a deviation away, with several settings each."""
    return {
        "gaussian": [partial(gaussian_filter, sigma=sigma) for sigma in (0.3, 0.4, 0.5, 0.6, 0.8, 1.0)],
        "median": [partial(median_filter, size=3)],
        "non-local means": [
            partial(denoise_nl_means, patch_size=3, patch_distance=4, h=share * level, sigma=level)
            for share in (0.4, 0.6, 0.8, 1.0)
        ],
    }


def filtered(noisy: dict[Patch, Tensor], each: Callable[[NDArray], NDArray], patch: Patch) -> NDArray:
    """A noisy patch of which the scan alone has been filtered."""
    found = noisy[patch].numpy().copy()
    box: tuple[Any, ...] = (0, 0, *patch.inside)
    found[box] = each(found[box])
    return found


def sweep(data: Path, runs: Path, _minutes: float | None) -> bool:
    """Error of undercomplete codes of several sizes and depths, and of as many principal components of blocks."""
    names = {(stages, channels): f"swept-{stages}-{channels}" for stages, each in SWEPT.items() for channels in each}
    models = {size: trained(runs / name, "undercomplete", data, settings=swept(*size)) for size, name in names.items()}
    first = next(iter(names))
    known, test = (scans_of(models[first], data, run=runs / names[first], part=part) for part in ("train", "test"))
    blocks = block_pca(known)
    rows = [
        {"stages": stages, "channels": channels} | code_error(model, test, blocks)
        for (stages, channels), model in models.items()
    ]
    record = {"steps": SWEPT_EPOCHS * SWEPT_STEPS, "test_scans": len(test), "codes": rows}
    write("autoencoders-sweep", record)
    print(json.dumps(record, indent=2))
    return True  # it has no figure to reach, whichever way it falls


def swept(stages: int, channels: int) -> list[str]:
    """Settings of an undercomplete network of so many stages and channels of the code."""
    decoded = stages - 1
    return [
        f"network.features={[16, 32, 64, 128][:stages]}",
        f"network.kernels={[[3, 3, 3]] * stages}",
        f"network.strides={[[1, 1, 1], *[[2, 2, 2]] * decoded]}",
        f"network.encoder_convolutions={[1, *[2] * decoded]}",
        f"network.decoder_convolutions={[2] * decoded}",
        f"network.skips={json.dumps([False] * decoded)}",
        f"autoencoder.code_channels={channels}",
        f"training.max_epochs={SWEPT_EPOCHS}",
        f"training.iterations_per_epoch={SWEPT_STEPS}",
        f"training.validate_every={SWEPT_EPOCHS}",
        "training.max_minutes=null",
    ]


def code_error(model: AutoencoderModel, test: Sequence[Patch], blocks: PCA) -> dict[str, Any]:
    """Numbers of the code, parameters, and the error beside that of as many components of blocks."""
    numbers = run(model, test[0].image)[1].code.units[0].numel()
    return {
        "numbers": numbers,
        "parameters": sum(each.numel() for each in model.network.parameters()),
        "mse": mean(test, lambda patch: run(model, patch.image)[0]),
        "pca": mean(test, partial(by_blocks, blocks, count=numbers // places(test[0]))),
    }


def variational(model: AutoencoderModel, test: Sequence[Patch]) -> dict[str, Any]:
    """Active units, divergence, and how unlike samples are."""
    found = [run(model, patch.image) for patch in test]
    means = torch.stack([each.code.units[0] for _, each in found])
    costs = torch.stack(
        [
            divergences(each.code.units, each.code.log_variance)[0]
            for _, each in found
            if each.code.log_variance is not None
        ]
    )
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        samples = [model.network.decode(torch.randn(1, means.shape[1], generator=generator)) for _ in range(SAMPLES)]
    return {
        "units": means.shape[1],
        "active_units": int((means.var(0) > ACTIVE_VARIANCE).sum()),
        "kl": float(costs.sum(1).mean()),
        "kl_per_unit": sorted((round(float(each), 3) for each in costs.mean(0)), reverse=True),
        "mse": float(np.mean([patch.error(image) for patch, (image, _) in zip(test, found, strict=True)])),
        "distance_between_samples": distance([each.numpy() for each in samples]),
        "distance_between_scans": distance([patch.image.numpy() for patch in test[:SAMPLES]]),
        "distance_between_reconstructions": distance([image.numpy() for image, _ in found[:SAMPLES]]),
    }


def distance(images: Sequence[NDArray]) -> float:
    """Mean squared difference between two of them."""
    pairs = [(a, b) for place, a in enumerate(images) for b in images[:place]]
    return float(np.mean([((a - b) ** 2).mean() for a, b in pairs]))


def mean(test: Sequence[Patch], reconstruct: Callable[[Patch], NDArray | Tensor]) -> float:
    """The mean error over scans of what a function makes of them."""
    return float(np.mean([patch.error(reconstruct(patch)) for patch in test]))


def places(patch: Patch) -> int:
    """Blocks of a patch."""
    return int(np.prod([n // BLOCK for n in patch.image.shape[2:]]))


def as_blocks(patch: Patch) -> NDArray:
    """The blocks of a patch, a row each."""
    i, j, k = (n // BLOCK for n in patch.image.shape[2:])
    split = patch.image[0, 0].numpy().reshape(i, BLOCK, j, BLOCK, k, BLOCK)
    return split.transpose(0, 2, 4, 1, 3, 5).reshape(-1, BLOCK**3)


def from_blocks(rows: NDArray, like: Patch) -> NDArray:
    """The way back from `as_blocks`."""
    i, j, k = (n // BLOCK for n in like.image.shape[2:])
    return rows.reshape(i, j, k, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5).reshape(like.image.shape[2:])


def block_pca(train: Sequence[Patch]) -> PCA:
    """All principal components of blocks."""
    return PCA(svd_solver="covariance_eigh").fit(np.concatenate([as_blocks(patch) for patch in train]))


def by_blocks(pca: PCA, patch: Patch, count: int) -> NDArray:
    """A patch from the first components of each of its blocks."""
    scores = pca.transform(as_blocks(patch))
    scores[:, count:] = 0
    return from_blocks(pca.inverse_transform(scores), patch)


def by_largest(pca: PCA, patch: Patch, count: int) -> NDArray:
    """A patch from so many components of its blocks, the largest wherever they are."""
    scores = pca.transform(as_blocks(patch))
    limit = np.sort(np.abs(scores), axis=None)[-count]
    return from_blocks(pca.inverse_transform(np.where(np.abs(scores) >= limit, scores, 0)), patch)


def scan_pca(train: Sequence[Patch], numbers: int) -> tuple[NDArray, NDArray]:
    """Mean and components of scans and their mirror images; as many as asked for, or as there are."""
    rows = np.concatenate([[each.image.numpy().ravel(), each.image.numpy()[:, :, ::-1].ravel()] for each in train])
    middle = rows.mean(0)
    centred = rows - middle
    values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
    kept = [place for place in np.argsort(values)[::-1][:numbers] if values[place] > 1e-6 * values.max()]
    components = (vectors[:, kept].T @ centred) / np.sqrt(values[kept])[:, None]
    return middle, components.astype(np.float32)


def by_scan(pca: tuple[NDArray, NDArray], patch: Patch) -> NDArray:
    """A patch from the components of whole scans."""
    middle, components = pca
    scores = components @ (patch.image.numpy().ravel() - middle)
    return middle + scores @ components


def write(name: str, record: dict[str, Any]) -> None:
    """Write a dated record with the commit."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    write_json(
        RECORDS / f"{today}-{name}.json",
        {"date": today, "commit": code_commit(), "processors": os.cpu_count(), **record},
    )


CHECKS: dict[str, Callable[[Path, Path, float | None], bool]] = {
    "kinds": kinds,
    "restoration": restoration,
    "sweep": sweep,
}


if __name__ == "__main__":
    sys.exit(main())
