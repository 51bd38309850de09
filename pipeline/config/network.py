"""The U-Net's shape, per stage and per axis."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import ModelReference, Section, refuse
from pipeline.config.blocks import BlockKind, Place, block_window, narrowest, stage_places
from pipeline.sizes import Size, Window


class NetworkConfig(Section):
    """A U-Net: stages of blocks going down, and the same stages coming up again over skip connections."""

    dimensions: Literal[2, 3] = 3
    """2 for images, 3 for volumes."""
    features: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each stage, finest first; as many stages as numbers."""
    block: BlockKind = "plain"
    """What every stage is made of. plain: one convolution. residual: two convolutions beside a shortcut. inception:
    convolutions of 1 voxel, of the stage's kernel and of 2 voxels more, and a max pooling, beside each other; they get
    2, 4, 1 and 1 eighths of the stage's channels, which must be 8 or more. A kernel of 1 along an axis is 1 in all."""
    kernels: tuple[tuple[int, ...], ...] | None = None
    """Kernel of each stage per axis, odd; by default 3 everywhere. Where nothing steps, or max pooling does, one plain
    convolution of 7 reaches as far as three of 3."""
    strides: tuple[tuple[int, ...], ...] | None = None
    """Step into each stage per axis; by default 1 for the first stage and 2 for the others. A first stage that steps
    makes the network several times faster; its output is brought back up to the patch's resolution."""
    encoder_convolutions: tuple[int, ...] | None = None
    """Convolutions of each encoder stage, or as many blocks of another kind; by default 2."""
    decoder_convolutions: tuple[int, ...] | None = None
    """Convolutions of each decoder stage, or as many blocks of another kind, finest first; one fewer than stages; by
    default 2."""
    downsampling: Literal["strided", "max"] = "strided"
    """A first block that steps, or max pooling before it."""
    upsampling: Literal["transposed", "interpolated"] = "transposed"
    """A transposed convolution, or linear interpolation followed by a 1-voxel convolution."""
    norm: Literal["instance", "batch", "group", "none"] = "instance"
    """Normalisation after each convolution."""
    activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu"
    """Non-linearity after each normalisation."""
    skips: tuple[bool, ...] | None = None
    """Whether each decoder stage, finest first, receives the encoder's features; by default all do."""
    attention: bool = False
    """Whether each skip connection is weighted voxel by voxel, as the coarser decoder stage asks for it (attention
    gates)."""
    deep_supervision: int = Field(2, ge=0)
    """How many coarser decoder stages have a loss of their own, weighted 1/2, 1/4, ..."""
    init_from: ModelReference | None = None
    """A trained model whose weights this network starts from, where names and shapes agree: a folder, a .zip of one,
    ``runs:/ID/model`` or ``models:/NAME@ALIAS``."""

    @property
    def stages(self) -> int:
        """How many resolutions the network works at."""
        return len(self.features)

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._length_problems(), *self._axis_problems(), *self._width_problems()]
        if self.stages < 2:
            problems.append(f"features needs two stages or more, found {self.stages}")
        if self.attention and not any(self.stage_skips()):
            problems.append("attention needs a skip connection or more to weigh, found skips all false")
        if self.deep_supervision > self.stages - 2:
            problems.append(
                f"deep_supervision can be at most stages - 2 = {self.stages - 2}, found {self.deep_supervision}"
            )
        refuse(problems)
        return self

    def _length_problems(self) -> list[str]:
        wanted = {
            "kernels": self.stages,
            "strides": self.stages,
            "encoder_convolutions": self.stages,
            "decoder_convolutions": self.stages - 1,
            "skips": self.stages - 1,
        }
        given = {name: getattr(self, name) for name in wanted}
        return [
            f"{name} needs {wanted[name]} entries for {self.stages} stages, found {len(value)}"
            for name, value in given.items()
            if value is not None and len(value) != wanted[name]
        ]

    def _axis_problems(self) -> list[str]:
        problems = []
        for name, rows in (("kernels", self.kernels or ()), ("strides", self.strides or ())):
            problems += [
                f"{name}[{stage}] needs {self.dimensions} entries, one an axis, found {len(row)}"
                for stage, row in enumerate(rows)
                if len(row) != self.dimensions
            ]
        if any(kernel < 1 or kernel % 2 == 0 for row in self.kernels or () for kernel in row):
            problems.append(f"kernels must be odd, so that padding keeps the size, found {self.kernels}")
        if any(stride < 1 for row in self.strides or () for stride in row):
            problems.append(f"strides must be 1 or more, found {self.strides}")
        if any(count < 1 for count in (*(self.encoder_convolutions or ()), *(self.decoder_convolutions or ()))):
            problems.append("every stage needs a convolution or more")
        return problems

    def _width_problems(self) -> list[str]:
        if any(width < 1 for width in self.features):
            return [f"features must be positive, found {self.features}"]
        least = narrowest(self.block)
        return [
            f"features[{stage}] must be {least} or more, so that every layer of its {self.block} blocks has a channel, "
            f"found {width}"
            for stage, width in enumerate(self.features)
            if width < least
        ]

    def stage_kernels(self) -> tuple[Size, ...]:
        """Kernel of each stage, defaults filled in."""
        return self.kernels or ((3,) * self.dimensions,) * self.stages

    def stage_strides(self) -> tuple[Size, ...]:
        """Step into each stage, defaults filled in."""
        return self.strides or ((1,) * self.dimensions, *((2,) * self.dimensions,) * (self.stages - 1))

    def stage_encoder_convolutions(self) -> tuple[int, ...]:
        """Convolutions of each encoder stage, defaults filled in."""
        return self.encoder_convolutions or (2,) * self.stages

    def stage_decoder_convolutions(self) -> tuple[int, ...]:
        """Convolutions of each decoder stage, defaults filled in."""
        return self.decoder_convolutions or (2,) * (self.stages - 1)

    def stage_skips(self) -> tuple[bool, ...]:
        """Whether each decoder stage has its skip connection, defaults filled in."""
        return self.skips or (True,) * (self.stages - 1)

    def stage_pools(self) -> tuple[Size | None, ...]:
        """The max pooling before each encoder stage; None where nothing is pooled."""
        pools = self.downsampling == "max"
        return tuple(stride if pools and max(stride) > 1 else None for stride in self.stage_strides())

    def encoder_places(self, channels: int) -> list[list[Place]]:
        """Where the blocks of each encoder stage stand, for scans of so many channels."""
        before = (channels, *self.features[:-1])
        stages = zip(before, self.features, self.stage_encoder_convolutions(), strict=True)
        widths = [[first, *[width] * count] for first, width, count in stages]
        pooled = zip(self.stage_pools(), self.stage_strides(), strict=True)
        steps = [stride if pool is None else (1,) * self.dimensions for pool, stride in pooled]
        return [stage_places(*stage) for stage in zip(widths, self.stage_kernels(), steps, strict=True)]

    def decoder_places(self) -> list[list[Place]]:
        """Where the blocks of each decoder stage stand, finest first; a skip doubles what the first takes in."""
        ones = (1,) * self.dimensions
        stages = zip(self.features[:-1], self.stage_decoder_convolutions(), self.stage_skips(), strict=True)
        widths = [[2 * width if skip else width, *[width] * count] for width, count, skip in stages]
        kernels = self.stage_kernels()[:-1]
        return [stage_places(channels, kernel, ones) for channels, kernel in zip(widths, kernels, strict=True)]

    def encoder_windows(self) -> list[Window]:
        """The encoder's layers as far as sizes are concerned, in the order in which data passes them."""
        windows = []
        for stage, (pool, places) in enumerate(zip(self.stage_pools(), self.encoder_places(1), strict=True)):
            if pool is not None:
                windows.append(Window(f"encoder.{stage}.pool", pool, pool, (0,) * self.dimensions))
            windows += [
                block_window(f"encoder.{stage}.blocks.{index}", self.block, place) for index, place in enumerate(places)
            ]
        return windows
