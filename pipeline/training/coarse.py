"""Training the small autoencoders of `inference.coarse`: a fixed number of steps, in 32 bits, on the CPU."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipeline.augmentation.corruption import corrupt
from pipeline.inference.coarse import CONFIGS, CoarseAutoencoders, new_autoencoder, reconstruction_error
from pipeline.inference.shapes import KIND
from pipeline.losses.code import variational_loss
from pipeline.networks.autoencoder import Autoencoder
from pipeline.quality.folds import group_folds
from pipeline.quality.scans import RECONSTRUCTIONS
from pipeline.training.reconstruction import warmed_up

HALVES = 2
BATCH = 8
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 0.01
WARMUP_SHARE = 0.1
CLIP = 12.0


def fit_autoencoders(
    views: Sequence[Tensor],
    *,
    groups: NDArray,
    steps: int,
    mirror_axes: tuple[int, ...],
    seed: int,
    progress: Callable[[float], None],
) -> tuple[CoarseAutoencoders, NDArray[np.float64]]:
    """Train each kind on each half of the scans.

    Args:
        views: of each scan, by `coarse_views`.
        groups: the patient of each scan; those of a patient are in one half.
        steps: of each network.
        mirror_axes: axes of the grid along which scans may be mirrored.
        seed: of weights, batches and noise.
        progress: is told the share that is done.

    Returns:
        The networks of the first half, and the errors of each scan (N, E) by those of the other half.

    Raises:
        DatasetError: there is one patient alone.
    """
    half_of, dimensions = group_folds(groups, HALVES), views[0].ndim - 2
    networks, errors = dict[str, Autoencoder](), np.zeros((len(views), len(RECONSTRUCTIONS)))
    rounds = [(kind, half) for kind in RECONSTRUCTIONS for half in range(HALVES)]
    for number, (kind, half) in enumerate(rounds):
        learnt = torch.cat([each for each, own in zip(views, half_of, strict=True) if own == half])
        network = _train(kind, learnt, steps=steps, mirror_axes=mirror_axes, seed=seed + number, dimensions=dimensions)
        if half == 0:
            networks[kind] = network
        for place in np.flatnonzero(half_of != half).tolist():
            errors[place, RECONSTRUCTIONS.index(kind)] = reconstruction_error(network, views[place])
        progress((number + 1) / len(rounds))
    return CoarseAutoencoders(networks, dimensions), errors


def fit_shapes(views: Tensor, *, steps: int, mirror_axes: tuple[int, ...], seed: int) -> Autoencoder:
    """Train a variational autoencoder on masks (N, L, ...) on the coarse grid; as `fit_autoencoders`."""
    return _train(KIND, views, steps=steps, mirror_axes=mirror_axes, seed=seed, dimensions=views.ndim - 2)


def _train(
    kind: str, scans: Tensor, *, steps: int, mirror_axes: tuple[int, ...], seed: int, dimensions: int
) -> Autoencoder:
    rng, config = np.random.default_rng(seed), CONFIGS[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_autoencoder(kind, channels=scans.shape[1], dimensions=dimensions).train()
        optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=steps, pct_start=WARMUP_SHARE
        )
        for step in range(steps):
            target = _batch(scans, mirror_axes, rng)
            seen = torch.stack([corrupt(each, config.corruption, rng)[0] for each in target])
            found = network(seen)
            loss = functional.mse_loss(found.output, target)
            if found.code.log_variance is not None:
                beta = warmed_up(config.variational.beta, step, config.variational.warmup_steps)
                loss = loss + beta * variational_loss(found.code.units, found.code.log_variance, target[0].numel())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimiser.step()
            schedule.step()
    return network.eval()


def _batch(scans: Tensor, mirror_axes: tuple[int, ...], rng: np.random.Generator) -> Tensor:
    batch = scans[rng.integers(len(scans), size=BATCH)]
    flipped = [2 + axis for axis in mirror_axes if rng.random() < 1 / 2]
    return batch.flip(flipped) if flipped else batch
