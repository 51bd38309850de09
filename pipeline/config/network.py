"""The U-Net's shape, per stage and per axis."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import ModelReference, Section, refuse
from pipeline.sizes import Size, Window


class NetworkConfig(Section):
    """A U-Net: stages of small convolutions going down, and the same stages coming up again over skip connections."""

    dimensions: Literal[2, 3] = 3
    """2 for images, 3 for volumes."""
    features: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of each stage, finest first; as many stages as numbers."""
    kernels: tuple[tuple[int, ...], ...] | None = None
    """Kernel of each stage per axis, odd; by default 3 everywhere."""
    strides: tuple[tuple[int, ...], ...] | None = None
    """Step into each stage per axis; by default 1 for the first stage and 2 for the others. A first stage that steps
    makes the network several times faster; its output is brought back up to the patch's resolution."""
    encoder_convolutions: tuple[int, ...] | None = None
    """Convolutions of each encoder stage; by default 2."""
    decoder_convolutions: tuple[int, ...] | None = None
    """Convolutions of each decoder stage, finest first; one fewer than stages; by default 2."""
    downsampling: Literal["strided", "max"] = "strided"
    """A strided first convolution, or max pooling before it."""
    upsampling: Literal["transposed", "interpolated"] = "transposed"
    """A transposed convolution, or linear interpolation followed by a 1-voxel convolution."""
    norm: Literal["instance", "batch", "group", "none"] = "instance"
    """Normalisation after each convolution."""
    activation: Literal["leaky_relu", "relu", "gelu", "silu"] = "leaky_relu"
    """Non-linearity after each normalisation."""
    skips: tuple[bool, ...] | None = None
    """Whether each decoder stage, finest first, receives the encoder's features; by default all do."""
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
        problems = [*self._length_problems(), *self._axis_problems()]
        if self.stages < 2:
            problems.append(f"features needs two stages or more, found {self.stages}")
        if any(width < 1 for width in self.features):
            problems.append(f"features must be positive, found {self.features}")
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

    def encoder_windows(self) -> list[Window]:
        """The encoder's layers as far as sizes are concerned, in the order in which data passes them."""
        windows = []
        for stage, (kernel, stride, count) in enumerate(
            zip(self.stage_kernels(), self.stage_strides(), self.stage_encoder_convolutions(), strict=True)
        ):
            one = (1,) * self.dimensions
            half = tuple(k // 2 for k in kernel)
            pooled = self.downsampling == "max" and stride != one
            if pooled:
                windows.append(Window(f"encoder.{stage}.pool", stride, stride, (0,) * self.dimensions))
            for index in range(count):
                step = stride if index == 0 and not pooled else one
                windows.append(Window(f"encoder.{stage}.blocks.{index}", kernel, step, half))
        return windows
