"""How the network is trained."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import NotNegative, Positive, Section, Seed, Share


class LossConfig(Section):
    """A weighted sum of losses; those of weight 0 are left out."""

    dice: float = Field(1.0, ge=0)
    """Weight of the soft Dice loss, over the structures without the background."""
    cross_entropy: float = Field(1.0, ge=0)
    """Weight of the cross-entropy."""
    others: dict[str, NotNegative] = Field(default={})
    """Weights of further losses by their names in `pipeline/losses/segmentation.py`, e.g. {focal: 0.5}."""
    batch_dice: bool = False
    """Take Dice over the whole batch as if it were one image; steadier where structures are often missing."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        doubled = sorted(self.others.keys() & {"dice", "cross_entropy"})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} has a key of its own; leave it out of others")
        if not any(self.weights.values()):
            raise ValueError("dice, cross_entropy and others are all 0; give one of them a weight")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss by its name."""
        return {"dice": self.dice, "cross_entropy": self.cross_entropy} | self.others


class OptimiserConfig(Section):
    """Optimiser and learning rate."""

    kind: Literal["sgd", "adamw"] = "adamw"
    """sgd: Nesterov momentum, decaying as (1 - progress)^0.9. adamw: decaying along a cosine."""
    learning_rate: Positive = 2e-3
    """The highest learning rate, reached after the warm-up."""
    weight_decay: float = Field(0.01, ge=0)
    """Weight decay (decoupled for adamw)."""
    momentum: Share = 0.99
    """Momentum (sgd)."""
    warmup_steps: int = Field(50, ge=0)
    """Steps over which the learning rate rises from 0."""
    gradient_clip: Positive | None = 12.0
    """Largest norm of the gradient; null never clips."""
    accumulate: int = Field(1, ge=1)
    """Batches whose gradients are added up before a step."""


class LoopConfig(Section):
    """Patches, batches, bounds and everything about the loop that no kind of network has to itself."""

    seed: Seed = 0
    """Seed of the weights, the order of the samples and the augmentation."""
    patch_size: tuple[int, ...] = (64, 64, 64)
    """Voxels that the network sees at once, in RAS order at the target spacing."""
    batch_size: int = Field(2, ge=1)
    """Patches a batch."""
    iterations_per_epoch: int | None = Field(None, ge=1)
    """Batches an epoch; by default as many as it takes to draw each training case once."""
    max_epochs: int = Field(1000, ge=1)
    """Bound in epochs."""
    max_minutes: Positive | None = None
    """Bound in minutes from the start, preparing the cases and validating included; the learning rate follows whichever
    bound comes first."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """How the loss is minimised."""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """Decay of the moving average of the weights that is validated and exported; 0 uses the weights themselves."""
    validate_every: int = Field(5, ge=1)
    """Epochs between validations."""
    early_stopping: int | None = Field(None, ge=1)
    """Validations without a gain after which training stops; null never stops early."""
    export: Literal["final", "best"] = "final"
    """Which weights become the model: those at the end, or those of the best validation."""
    workers: int = Field(0, ge=0)
    """Processes that prepare batches; the result does not depend on it."""
    threads: int | None = Field(None, ge=1)
    """Threads of the network on the CPU; by default one a core. Another number may round differently."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the convolutions; auto takes bf16 on a GPU, and on a CPU where it measures 10 % faster."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(size < 1 for size in self.patch_size):
            raise ValueError(f"patch_size must be positive, found {self.patch_size}")
        return self


class TrainingConfig(LoopConfig):
    """How the network is trained."""

    foreground: Share = 0.33
    """Share of the patches that are centred on a voxel of a structure, each structure as often as the others."""
    loss: LossConfig = LossConfig()
    """What is minimised."""
