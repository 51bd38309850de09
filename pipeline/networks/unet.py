"""The U-Net (Ronneberger, Fischer, Brox 2015, arXiv:1505.04597), one definition for images and volumes.

    encoder.0 ---------------- skip ----------------> decoder.0 -> heads.0 -> logits
        | stride                                          ^ up
    encoder.1 ------------ skip ------------> decoder.1 --+     -> heads.1 (deep supervision)
        | stride                                  ^ up
    encoder.2 (bottleneck) -----------------------+

Stages are counted from the finest, in the encoder and in the decoder. A first stage that steps itself makes the whole
network work at a coarser resolution, several times faster; heads.0 then comes back up to the input's.
A stage is made of blocks of one kind (`blocks`), and an attention gate may weigh what a skip brings (`attention`).
"""

import torch
from torch import Tensor, nn

from pipeline.config.blocks import Place
from pipeline.config.network import NetworkConfig
from pipeline.networks.attention import AttentionGate
from pipeline.networks.blocks import LAYERS, BlockStyle, Upsample, initialise, make_block
from pipeline.sizes import Size


class EncoderStage(nn.Module):
    """An optional pooling and blocks, the first of which steps where nothing pools."""

    def __init__(self, places: list[Place], pool: Size | None, style: BlockStyle) -> None:
        super().__init__()
        self.pool = nn.Identity() if pool is None else LAYERS[style.dimensions].max_pool(pool, pool)
        self.blocks = nn.Sequential(*(make_block(place, style) for place in places))

    def forward(self, x: Tensor) -> Tensor:
        """The stage's features, at its resolution."""
        return self.blocks(self.pool(x))


class DecoderStage(nn.Module):
    """Come up from the coarser stage, join the encoder's features, which a gate may weigh, and go on in blocks.

    Args:
        up: from the coarser stage.
        places: of the blocks.
        style: of the blocks.
        skip: whether the encoder's features are joined.
        gate: weighs them before they are, or None.
    """

    def __init__(
        self, up: Upsample, places: list[Place], style: BlockStyle, *, skip: bool, gate: AttentionGate | None
    ) -> None:
        super().__init__()
        self.up = up
        self.skip = skip
        self.gate = gate
        self.blocks = nn.Sequential(*(make_block(place, style) for place in places))

    def forward(self, coarser: Tensor, encoded: Tensor) -> Tensor:
        """Features at the resolution of ``encoded``, which is the encoder's output there."""
        x = self.up(coarser)
        if not self.skip:
            return self.blocks(x)
        passed = encoded if self.gate is None else self.gate(encoded, coarser)
        return self.blocks(torch.cat([x, passed], 1))


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
        self.encoder = make_encoder(config, channels)
        self.decoder = make_decoder(config)
        self.heads = nn.ModuleList(make_head(config, stage, classes) for stage in range(1 + config.deep_supervision))
        self.apply(initialise)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits, finest first.

        Args:
            x: (B, C, D, H, W).

        Returns:
            In training, (B, classes, ...) of the finest and of the ``deep_supervision`` next coarser decoder stages;
            in evaluation, the finest alone.
        """
        return self.decode(self.encode(x))

    def encode(self, x: Tensor) -> list[Tensor]:
        """The features of each encoder stage (B, F, ...), finest first, of a batch (B, C, D, H, W)."""
        encoded = []
        for stage in self.encoder:
            x = stage(x)
            encoded.append(x)
        return encoded

    def decode(self, encoded: list[Tensor]) -> list[Tensor]:
        """What `forward` returns, from what `encode` does."""
        x, decoded = encoded[-1], []
        for index in reversed(range(len(self.decoder))):
            x = self.decoder[index](x, encoded[index])
            decoded.append(x)
        finest_first = decoded[::-1]
        heads = len(self.heads) if self.training else 1
        return [self.heads[index](finest_first[index]) for index in range(heads)]


def _style(config: NetworkConfig) -> BlockStyle:
    return BlockStyle(config.dimensions, config.block, config.norm, config.activation)


def make_encoder(config: NetworkConfig, channels: int) -> nn.ModuleList:
    """The stages going down, for scans of so many channels."""
    stages = zip(config.encoder_places(channels), config.stage_pools(), strict=True)
    return nn.ModuleList(EncoderStage(places, pool, _style(config)) for places, pool in stages)


def make_head(config: NetworkConfig, stage: int, channels: int) -> nn.Module:
    """What a decoder stage gives out: a convolution over one voxel.

    The finest also comes back up where the first stage steps.
    """
    first_stride = config.stage_strides()[0]
    if stage == 0 and any(step > 1 for step in first_stride):
        return _make_up(config, config.features[0], channels, stride=first_stride)
    return LAYERS[config.dimensions].conv(config.features[stage], channels, 1)


def _make_up(config: NetworkConfig, channels_in: int, channels_out: int, *, stride: Size) -> Upsample:
    transposed = config.upsampling == "transposed"
    return Upsample(channels_in, channels_out, stride, transposed=transposed, dimensions=config.dimensions)


def _make_gate(config: NetworkConfig, stage: int) -> AttentionGate | None:
    if not (config.attention and config.stage_skips()[stage]):
        return None
    fine, coarse = config.features[stage], config.features[stage + 1]
    return AttentionGate(fine, coarse, config.stage_strides()[stage + 1], dimensions=config.dimensions)


def make_decoder(config: NetworkConfig) -> nn.ModuleList:
    """The stages coming up again, finest first."""
    stages = nn.ModuleList()
    for stage, (places, skip) in enumerate(zip(config.decoder_places(), config.stage_skips(), strict=True)):
        fine, coarse = config.features[stage], config.features[stage + 1]
        up = _make_up(config, coarse, fine, stride=config.stage_strides()[stage + 1])
        stages.append(DecoderStage(up, places, _style(config), skip=skip, gate=_make_gate(config, stage)))
    return stages
