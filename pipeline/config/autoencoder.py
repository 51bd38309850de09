"""The autoencoders: what they are asked to reconstruct, from what, and through which code."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import NotNegative, Range, Section, Share, refuse

SSIM_WINDOW = 7
"""Voxels along the side of the Gaussian window in which structures are compared."""
Kind = Literal["undercomplete", "sparse", "denoising", "variational"]


class ReconstructionLossConfig(Section):
    """A weighted sum of losses between the scan and its reconstruction; those of weight 0 are left out."""

    mse: NotNegative = 1.0
    """Weight of the mean squared error."""
    l1: NotNegative = 0.0
    """Weight of the mean absolute error; leaves edges sharper."""
    bce: NotNegative = 0.0
    """Weight of the binary cross-entropy of intensities brought to 0 to 1 by the range of the training scans; what
    lies outside is clipped. The network's output then goes through a logistic function."""
    ssim: NotNegative = 0.0
    """Weight of 1 - SSIM (structural similarity), which takes the whole patch, also beside a smaller scan."""

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss by its name."""
        return {"mse": self.mse, "l1": self.l1, "bce": self.bce, "ssim": self.ssim}

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse([] if any(self.weights.values()) else ["mse, l1, bce and ssim are all 0; give one of them a weight"])
        return self


class SparsityConfig(Section):
    """What keeps most units of a sparse code switched off."""

    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the units that are dropped at random in training."""
    weight: NotNegative = 0.0
    """Weight of the penalty on units that are active more often, or less, than the target rate says."""
    target_rate: float = Field(0.05, gt=0, lt=1)
    """Share of the time that a unit should be active."""


class VariationalConfig(Section):
    """The prior that a variational code is held to."""

    beta: NotNegative = 0.0
    """Weight of the divergence from the standard normal distribution; 1 is the evidence lower bound of a Gaussian
    whose variance is one half, in units of the normalised intensities."""
    warmup_steps: int = Field(0, ge=0)
    """Steps over which beta rises from 0, so that units are not given up before they have learnt anything."""


class CorruptionConfig(Section):
    """What is done to the input of a denoising network; the target is the scan as it was."""

    noise: Range = (0.0, 0.0)
    """Standard deviation of Gaussian noise, drawn anew for each patch, in units of the normalised intensities."""
    coarse_noise: Range = (0.0, 0.0)
    """Standard deviation of noise that is drawn on a coarse grid and interpolated: looks like lesions and other things
    that do not belong."""
    coarse_noise_voxels: int = Field(8, ge=1)
    """Voxels between the points of that grid."""
    masked_share: Share = 0.0
    """Share of the patch that is masked, block by block: set to 0."""
    masked_block_voxels: int = Field(8, ge=1)
    """Side of a block."""
    downsampling: Range = (1.0, 1.0)
    """Factor by which the resolution is lowered, drawn anew for each patch; linear interpolation brings the size
    back."""
    downsampling_axes: tuple[int, ...] = ()
    """Axes whose resolution is lowered, in RAS order; several are lowered together."""
    blur_voxels: Range = (0.0, 0.0)
    """Standard deviation of a Gaussian blur."""
    only_masked: bool = False
    """Whether the loss is taken over the masked voxels alone, as masked autoencoders do."""

    @property
    def is_on(self) -> bool:
        """Whether anything is done."""
        noisy = self.noise[1] > 0 or self.coarse_noise[1] > 0 or self.blur_voxels[1] > 0
        return noisy or self.masked_share > 0 or self.lowers_resolution

    @property
    def lowers_resolution(self) -> bool:
        """Whether the resolution is lowered."""
        return self.downsampling[1] > 1 and bool(self.downsampling_axes)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = []
        if self.downsampling[0] < 1:
            problems.append(f"downsampling is 1 or more, found {list(self.downsampling)}")
        if (self.downsampling[1] > 1) != bool(self.downsampling_axes):
            problems.append("downsampling above 1 and downsampling_axes go together")
        if any(axis not in range(3) for axis in self.downsampling_axes):
            problems.append(f"downsampling_axes must be from 0 to 2, found {list(self.downsampling_axes)}")
        if self.only_masked and not 0 < self.masked_share < 1:
            problems.append(f"only_masked needs a masked_share between 0 and 1, found {self.masked_share}")
        refuse(problems)
        return self


class AutoencoderConfig(Section):
    """A network that is asked for its own input, and what keeps it from merely copying that."""

    kind: Kind = "undercomplete"
    """undercomplete: a code smaller than the input. sparse: a code that is not smaller, and mostly switched off.
    denoising: the input is corrupted, and the scan as it was is asked for. variational: a code with a distribution,
    from which scans can be drawn."""
    code_size: int | None = Field(None, ge=1)
    """Numbers in a code that is a vector; null: the code is a feature map. Only patches of one size have a vector."""
    code_channels: int | None = Field(None, ge=1)
    """Channels of the feature map, or of what the vector is made of; null: those of the last stage."""
    residual: bool = False
    """Whether the network learns what has to be added to its input; for denoising networks."""
    loss: ReconstructionLossConfig = ReconstructionLossConfig()
    """How far a reconstruction is from what it should be."""
    sparsity: SparsityConfig = SparsityConfig()
    """For sparse codes."""
    variational: VariationalConfig = VariationalConfig()
    """For variational codes."""
    corruption: CorruptionConfig = CorruptionConfig()
    """For denoising networks."""
    map_column: str | None = None
    """Column of a table of cases after which the map of the validation scans' codes is coloured; null: all alike. The
    map stays in the run's folder where tracking.log_case_names keeps names there."""
    map_table: Path | None = None
    """That table, a CSV file with a column ``case``; null: cases.csv in data.root."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        refuse([*self._kind_problems(), *self._loss_problems()])
        return self

    def _kind_problems(self) -> list[str]:
        """A setting that another kind ignores would be believed to have an effect."""
        given = {
            "sparse": (self.sparsity.dropout > 0 or self.sparsity.weight > 0, "sparsity.dropout or sparsity.weight"),
            "variational": (self.variational.beta > 0, "variational.beta"),
            "denoising": (self.corruption.is_on, "corruption"),
        }
        problems = [
            f"{name} is for kind {kind} alone; leave it at 0 for {self.kind}"
            for kind, (is_given, name) in given.items()
            if is_given and kind != self.kind
        ]
        if self.kind in given and not given[self.kind][0]:
            problems.append(f"kind {self.kind} needs {given[self.kind][1]} above 0")
        if self.residual and self.kind != "denoising":
            problems.append("residual is for kind denoising alone: another network would learn to add nothing")
        return problems

    def _loss_problems(self) -> list[str]:
        problems = []
        if self.residual and self.loss.bce > 0:
            problems.append("residual and loss.bce exclude each other: an intensity from 0 to 1 is no difference")
        if self.corruption.only_masked and self.loss.ssim > 0:
            problems.append("corruption.only_masked and loss.ssim exclude each other: SSIM compares neighbourhoods")
        return problems
