"""How masks are scored."""

from typing import Self

from pydantic import Field, model_validator

from pipeline.config.base import Positive, Section, Seed


class EvaluationConfig(Section):
    """Settings of the metrics and their intervals."""

    nsd_tolerance_mm: Positive = 1.0
    """Surface points closer than this to the other surface count as agreeing (normalised surface Dice); of pictures, in
    pixels."""
    instances: bool = False
    """Score the instances (cells, nuclei) of each label too: Rand F-score, variation of information, instances matched,
    missed and extra. An instance is a connected part, unless inference.watershed divides what was predicted."""
    walls: tuple[str, ...] = ()
    """Labels that divide instances instead of being some, such as membranes: their instances are the connected parts of
    what lies between them."""
    centreline: bool = False
    """Score centre lines too (clDice), for vessels and other things that are long and thin."""
    per_slice: bool = False
    """Take each slice along the last axis as an image with instances and centre lines of its own, as in a stack of
    images; by default they reach through the volume."""
    bootstrap_samples: int = Field(2000, ge=100)
    """Resamplings of the cases behind each 95 % interval."""
    seed: Seed = 0
    """Seed of the resampling."""

    @model_validator(mode="after")
    def _walls_need_instances(self) -> Self:
        if self.walls and not self.instances:
            raise ValueError("walls divide instances, which are scored with instances: true; set it, or walls: []")
        return self
