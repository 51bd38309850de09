"""The batches of a run, whatever it trains."""

from collections.abc import Sequence
from typing import TypeVar

from torch.utils.data import Dataset

from pipeline.augmentation.sample import Sample
from pipeline.commands.job import Job
from pipeline.commands.tracked_files import SHOWN
from pipeline.config.experiment import Experiment
from pipeline.config.training import LoopConfig
from pipeline.preprocessing.fitted import FittedPreprocessing
from pipeline.samples.cache import StoredCase
from pipeline.samples.patches import BatchPlan, PatchDataset, batches_per_epoch, make_loader
from pipeline.training.loop import Objective, Task
from pipeline.training.state import Counters

E = TypeVar("E", bound=Experiment)
F = TypeVar("F")


def augmented_patches(
    config: Experiment, cases: Sequence[StoredCase], fitted: FittedPreprocessing, *, foreground: float
) -> PatchDataset:
    """Augmented patches; axes to mirror are given in RAS order, and slices may lie across another one.

    Args:
        config: of the augmentation and the patches.
        cases: are drawn from.
        fitted: how they were prepared.
        foreground: share of the patches that are centred on a structure.
    """
    axes = fitted.prepared_axes(config.augmentation.mirror_axes)
    augmentation = config.augmentation.model_copy(update={"mirror_axes": axes})
    return PatchDataset(list(cases), config.training, augmentation, foreground=foreground)


def remaining_task(
    job: Job[E], patches: Dataset[Sample], cases: int, *, objective: Objective[F], counters: Counters
) -> Task[F]:
    """What is left to do of a run.

    Args:
        job: the run.
        patches: by `SampleKey`.
        cases: how many they are drawn from.
        objective: what the network is trained towards.
        counters: how far the run is.
    """
    training = job.config.training
    plan = BatchPlan(cases, training, counters.epoch)
    loader = make_loader(patches, plan, training.workers, pin_memory=training.device == "cuda")
    return Task(
        batches=iter(loader),
        batches_per_epoch=batches_per_epoch(cases, training),
        objective=objective,
        config=training,
        clock=job.clock.after(counters.seconds),
    )


def first_batch(patches: Dataset[Sample], cases: int, training: LoopConfig) -> list[Sample]:
    """Some patches of the first batch, as the network sees them."""
    keys = next(iter(BatchPlan(cases, training, 0)))
    return [patches[key] for key in keys[:SHOWN]]
