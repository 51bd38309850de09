"""Drawing patches: which case, where in it, and how it is changed, all from (seed, epoch, sample)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pipeline.augmentation.choice import make_augmentation
from pipeline.augmentation.sample import Sample
from pipeline.augmentation.source import source_size
from pipeline.config.augmentation import AugmentationConfig
from pipeline.config.training import LoopConfig
from pipeline.samples.cache import StoredCase
from pipeline.sizes import as_window
from pipeline.threads import one_thread


@dataclass(frozen=True)
class SampleKey:
    """Everything that a sample's random numbers come from, besides the seed.

    Attributes:
        epoch: counted from 0.
        sample: position in the epoch, from 0.
        case: index of the case that is drawn from.
    """

    epoch: int
    sample: int
    case: int


class BatchPlan:
    """The keys of every batch from some epoch on: each case once, in a new order, before any comes again.

    Args:
        cases: how many cases there are.
        training: seed, batch size and iterations an epoch.
        first_epoch: where to start; a resumed run starts in the middle and draws what it would have drawn.
    """

    def __init__(self, cases: int, training: LoopConfig, first_epoch: int) -> None:
        self.cases = cases
        self.seed = training.seed
        self.batch_size = training.batch_size
        self.batches = batches_per_epoch(cases, training)
        self.first_epoch = first_epoch
        self.last_epoch = training.max_epochs

    def __iter__(self) -> Iterator[list[SampleKey]]:
        for epoch in range(self.first_epoch, self.last_epoch):
            for batch in range(self.batches):
                yield [self._key(epoch, batch * self.batch_size + item) for item in range(self.batch_size)]

    def __len__(self) -> int:
        return self.batches * (self.last_epoch - self.first_epoch)

    def _key(self, epoch: int, sample: int) -> SampleKey:
        turn, place = divmod(epoch * self.batches * self.batch_size + sample, self.cases)
        order = np.random.default_rng([self.seed, turn]).permutation(self.cases)
        return SampleKey(epoch, sample, int(order[place]))


def batches_per_epoch(cases: int, training: LoopConfig) -> int:
    """As configured, or as many as it takes to draw each case about once."""
    return training.iterations_per_epoch or max(1, round(cases / training.batch_size))


class PatchDataset(Dataset[Sample]):
    """Augmented patches, by `SampleKey`; holds no random state, so any process may make any sample.

    Args:
        cases: are drawn from.
        training: seed and size of the patches.
        augmentation: what is done to them.
        foreground: share of the patches that are centred on a voxel of a structure.
    """

    def __init__(
        self, cases: list[StoredCase], training: LoopConfig, augmentation: AugmentationConfig, *, foreground: float
    ) -> None:
        self.cases = cases
        self.seed = training.seed
        self.foreground = foreground
        self.source_size = source_size(training.patch_size, augmentation)
        self.augment = make_augmentation(augmentation, training.patch_size)
        self.window = as_window(training.patch_size)

    def __getitem__(self, key: SampleKey) -> Sample:
        rng = np.random.default_rng([self.seed, key.epoch, key.sample])
        case = self.cases[key.case]
        centre = draw_centre(case, self.window, foreground=self.foreground, rng=rng)
        image, labels, weights = cut(case, centre, as_window(self.source_size))
        if len(self.source_size) < len(self.window):  # an image's patch lies in one slice
            image, labels, weights = image[..., 0], labels[..., 0], None if weights is None else weights[..., 0]
        with one_thread():
            return self.augment(image, labels[None], rng, weights=None if weights is None else weights[None])


def make_loader(dataset: Dataset[Sample], plan: BatchPlan, workers: int, *, pin_memory: bool) -> DataLoader[Sample]:
    """Batches in the plan's order, made by ``workers`` processes, or in this one for 0.

    What it draws for itself comes from a generator of its own, so that it leaves torch's as a checkpoint restored it.
    """
    return DataLoader(
        dataset,
        batch_sampler=plan,
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
        collate_fn=_collate,
        generator=torch.Generator(),
    )


def draw_centre(
    case: StoredCase, patch_size: tuple[int, ...], *, foreground: float, rng: np.random.Generator
) -> tuple[int, ...]:
    """The voxel that a patch is centred on.

    With probability ``foreground`` a voxel of a structure, each structure of the case as often as the others; else
    anywhere such that the patch lies inside the case, or about its middle along axes where it is larger.
    """
    structures = [voxels for voxels in case.foreground if len(voxels)]
    if structures and rng.random() < foreground:
        voxels = structures[int(rng.integers(len(structures)))]
        wanted = voxels[int(rng.integers(len(voxels)))]
        return tuple(_inside(int(c), n, p) for c, n, p in zip(wanted, case.shape, patch_size, strict=True))
    return tuple(
        int(rng.integers(low, high + 1))
        for low, high in (_centres(n, p) for n, p in zip(case.shape, patch_size, strict=True))
    )


def cut(
    case: StoredCase, centre: tuple[int, ...], size: tuple[int, ...]
) -> tuple[NDArray, NDArray, NDArray[np.float32] | None]:
    """A box of the image (C, I, J, K), of the labels and of the weights (I, J, K) about a voxel; None without weights.

    Where it leaves the case, there are zeros, which count as background of the usual weight.
    """
    starts = [c - n // 2 for c, n in zip(centre, size, strict=True)]
    stops = [start + n for start, n in zip(starts, size, strict=True)]
    box = tuple(slice(max(0, a), min(b, n)) for a, b, n in zip(starts, stops, case.shape, strict=True))
    padding = [(max(0, -a), max(0, b - n)) for a, b, n in zip(starts, stops, case.shape, strict=True)]
    image, labels, weights = np.pad(case.image(box), [(0, 0), *padding]), case.labels(box), case.weights(box)
    padded = None if weights is None else np.pad(weights, padding, constant_values=1)
    return image, np.pad(labels, padding), padded


def _centres(size: int, patch: int) -> tuple[int, int]:
    """The first and last centre with which a patch lies inside; both the middle where it cannot."""
    if patch >= size:
        return (size // 2, size // 2)
    return (patch // 2, size - patch + patch // 2)


def _inside(wanted: int, size: int, patch: int) -> int:
    low, high = _centres(size, patch)
    return min(max(wanted, low), high)


def _collate(samples: list[Sample]) -> Sample:
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}
