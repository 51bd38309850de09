"""The U-Net (Ronneberger, Fischer, Brox 2015, arXiv:1505.04597), one definition for images and volumes.

    encoder.0 ---------------- skip ----------------> decoder.0 -> heads.0 -> logits
        | stride                                          ^ up
    encoder.1 ------------ skip ------------> decoder.1 --+     -> heads.1 (deep supervision)
        | stride                                  ^ up
    encoder.2 (bottleneck) -----------------------+

Stages are counted from the finest, in the encoder and in the decoder. A first stage that steps itself makes the whole
network work at a coarser resolution, several times faster; heads.0 then comes back up to the input's.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from pipeline.config.network import NetworkConfig
from pipeline.networks.blocks import LAYERS, BlockStyle, ConvBlock, Upsample, initialise
from pipeline.sizes import Size


class EncoderStage(nn.Module):
    """An optional pooling and small convolutions, the first of which steps where nothing pools."""

    def __init__(self, channels: list[int], kernel: Size, stride: Size, *, pooled: bool, style: BlockStyle) -> None:
        super().__init__()
        one = (1,) * style.dimensions
        pooled = pooled and stride != one
        self.pool = LAYERS[style.dimensions].max_pool(stride, stride) if pooled else nn.Identity()
        steps = [one if pooled else stride] + [one] * (len(channels) - 2)
        self.blocks = nn.Sequential(
            *(
                ConvBlock(a, b, kernel=kernel, stride=step, style=style)
                for (a, b), step in zip(pairwise(channels), steps, strict=True)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """The stage's features, at its resolution."""
        return self.blocks(self.pool(x))


class DecoderStage(nn.Module):
    """Come up from the coarser stage, join the encoder's features, and convolve."""

    def __init__(self, up: Upsample, channels: list[int], kernel: Size, *, skip: bool, style: BlockStyle) -> None:
        super().__init__()
        self.up = up
        self.skip = skip
        one = (1,) * style.dimensions
        self.blocks = nn.Sequential(
            *(ConvBlock(a, b, kernel=kernel, stride=one, style=style) for a, b in pairwise(channels))
        )

    def forward(self, coarser: Tensor, encoded: Tensor) -> Tensor:
        """Features at the resolution of ``encoded``, which is the encoder's output there."""
        x = self.up(coarser)
        return self.blocks(torch.cat([x, encoded], 1) if self.skip else x)


class UNet(nn.Module):
    """Encoder, bottleneck and decoder with skip connections.

    Args:
        config: stages, features, kernels, strides and the rest.
        channels: channels of the input.
        classes: channels of the output, the background included.

    Example:
        >>> net = UNet(NetworkConfig(features=(8, 16), deep_supervision=0), channels=1, classes=3)
        >>> net(torch.zeros(1, 1, 16, 16, 16))[0].shape
        torch.Size([1, 3, 16, 16, 16])
    """

    def __init__(self, config: NetworkConfig, channels: int, classes: int) -> None:
        super().__init__()
        self.deep_supervision = config.deep_supervision
        self.encoder = _make_encoder(config, channels)
        self.decoder = _make_decoder(config)
        self.heads = nn.ModuleList(_make_head(config, stage, classes) for stage in range(1 + config.deep_supervision))
        self.apply(initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits, finest first.

        Args:
            x: (B, C, D, H, W).

        Returns:
            In training, (B, classes, ...) of the finest and of the ``deep_supervision`` next coarser decoder stages;
            in evaluation, the finest alone.
        """
        encoded = []
        for stage in self.encoder:
            x = stage(x)
            encoded.append(x)
        decoded = []
        for index in reversed(range(len(self.decoder))):
            x = self.decoder[index](x, encoded[index])
            decoded.append(x)
        finest_first = decoded[::-1]
        heads = len(self.heads) if self.training else 1
        return [self.heads[index](finest_first[index]) for index in range(heads)]


def _style(config: NetworkConfig) -> BlockStyle:
    return BlockStyle(config.dimensions, config.norm, config.activation)


def _make_encoder(config: NetworkConfig, channels: int) -> nn.ModuleList:
    stages = nn.ModuleList()
    inputs = (channels, *config.features[:-1])
    for before, after, kernel, stride, count in zip(
        inputs,
        config.features,
        config.stage_kernels(),
        config.stage_strides(),
        config.stage_encoder_convolutions(),
        strict=True,
    ):
        widths = [before] + [after] * count
        stages.append(EncoderStage(widths, kernel, stride, pooled=config.downsampling == "max", style=_style(config)))
    return stages


def _make_head(config: NetworkConfig, stage: int, classes: int) -> nn.Module:
    """A convolution over one voxel; the finest also comes back up where the first stage steps."""
    first_stride = config.stage_strides()[0]
    if stage == 0 and any(step > 1 for step in first_stride):
        return _make_up(config, config.features[0], classes, stride=first_stride)
    return LAYERS[config.dimensions].conv(config.features[stage], classes, 1)


def _make_up(config: NetworkConfig, channels_in: int, channels_out: int, *, stride: Size) -> Upsample:
    transposed = config.upsampling == "transposed"
    return Upsample(channels_in, channels_out, stride, transposed=transposed, dimensions=config.dimensions)


def _make_decoder(config: NetworkConfig) -> nn.ModuleList:
    stages = nn.ModuleList()
    counts, skips = config.stage_decoder_convolutions(), config.stage_skips()
    for stage, (count, skip) in enumerate(zip(counts, skips, strict=True)):
        fine, coarse = config.features[stage], config.features[stage + 1]
        up = _make_up(config, coarse, fine, stride=config.stage_strides()[stage + 1])
        widths = [2 * fine if skip else fine] + [fine] * count
        stages.append(DecoderStage(up, widths, config.stage_kernels()[stage], skip=skip, style=_style(config)))
    return stages
