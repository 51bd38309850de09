"""Autoencoders from the U-Net's own stages, which keep their names, so that weights pass from one to the other.

    encoder.0 . . . . . . . . (skip) . . . . . . . . decoder.0 -> output -> image
        | stride                                        ^ up
    encoder.1                                       decoder.1
        | stride                                        ^ up
    encoder.2  ->  bottleneck: features -> code -> features

Undercomplete and sparse: Hinton and Salakhutdinov 2006 (Science 313:504), Ng 2011 (CS294A). Denoising: Vincent et al.
2010 (JMLR 11:3371). Variational: Kingma and Welling 2014 (arXiv:1312.6114). Tensors are B C D H W, or B C H W in 2D.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.autoencoder import AutoencoderConfig
from pipeline.config.network import NetworkConfig
from pipeline.networks.blocks import LAYERS, initialise
from pipeline.networks.unet import make_decoder, make_encoder, make_head
from pipeline.sizes import Size, trace

LOG_VARIANCES = (-10.0, 10.0)
"""Bounds of what the encoder may claim, so that an exponential stays finite in any number format."""


@dataclass(frozen=True, eq=False)
class Code:
    """What an encoder makes of a batch.

    Attributes:
        units: (B, code_size), or (B, code_channels, ...); of a variational code, the means.
        log_variance: of a variational code, of the same shape; otherwise None.
    """

    units: Tensor
    log_variance: Tensor | None = None

    def vectors(self) -> Tensor:
        """The units as vectors in 32 bits (B, units); of feature maps, the means over their places (B, channels)."""
        return (self.units.flatten(2).mean(2) if self.units.ndim > 2 else self.units).float()

    def sampled(self) -> Tensor:
        """Mean + deviation x noise, through which gradients pass (Kingma and Welling, section 2.4)."""
        assert self.log_variance is not None
        return self.units + (self.log_variance / 2).exp() * torch.randn_like(self.units)


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What an autoencoder makes of a batch.

    Attributes:
        output: (B, C, ...) of the input's size; where the loss has a cross-entropy, before the logistic function.
        code: what it was made from.
    """

    output: Tensor
    code: Code


class Bottleneck(nn.Module):
    """From the last stage's features to the code, and back.

    Args:
        config: kind and size of the code.
        features: channels of the last stage.
        size: of its feature map.
        dimensions: 2 or 3.
    """

    def __init__(self, config: AutoencoderConfig, features: int, *, size: Size, dimensions: int) -> None:
        super().__init__()
        self.kind, self.dropout = config.kind, config.sparsity.dropout
        conv, channels = LAYERS[dimensions].conv, config.code_channels or features
        parts = 2 if config.kind == "variational" else 1
        self.shape = (channels, *size)
        if config.code_size is not None:
            numbers = math.prod(self.shape)
            self.squeeze = nn.Sequential(
                conv(features, channels, 1), nn.Flatten(), nn.Linear(numbers, parts * config.code_size)
            )
            self.expand = nn.Sequential(
                nn.Linear(config.code_size, numbers), nn.Unflatten(1, self.shape), conv(channels, features, 1)
            )
        elif config.code_channels is not None or config.kind == "variational":
            self.squeeze = nn.Sequential(conv(features, parts * channels, 1))
            self.expand = nn.Sequential(conv(channels, features, 1))
        else:
            self.squeeze = self.expand = nn.Sequential()

    def encode(self, features: Tensor) -> Code:
        """The code of features (B, F, ...)."""
        found = self.squeeze(features)
        if self.kind == "variational":
            mean, log_variance = found.float().chunk(2, 1)
            return Code(mean, log_variance.clamp(*LOG_VARIANCES))
        return Code(functional.relu(found) if self.kind == "sparse" else found)

    def decode(self, code: Code) -> Tensor:
        """Features from a code: in training from a draw of it, or from what dropout leaves of it."""
        units = code.units
        if self.training and self.kind == "variational":
            units = code.sampled()
        if self.kind == "sparse":
            units = functional.dropout(units, self.dropout, self.training)
        return self.expand(units)


class Autoencoder(nn.Module):
    """Encoder, bottleneck and decoder; a denoising one may have skip connections.

    Args:
        network: stages, features, kernels, strides and the rest, as a U-Net has them.
        config: the code.
        channels: of the input, and of the output.
        patch_size: of the input, on which the size of a vector's layers depends.

    Raises:
        ConfigError: the patch does not fit a layer; the message names it.

    Example:
        >>> network = NetworkConfig(features=(8, 16), skips=(False,), deep_supervision=0)
        >>> net = Autoencoder(network, AutoencoderConfig(code_size=32), channels=1, patch_size=(16, 16, 16))
        >>> found = net(torch.zeros(2, 1, 16, 16, 16))
        >>> found.output.shape, found.code.units.shape
        (torch.Size([2, 1, 16, 16, 16]), torch.Size([2, 32]))
    """

    def __init__(
        self, network: NetworkConfig, config: AutoencoderConfig, *, channels: int, patch_size: tuple[int, ...]
    ) -> None:
        super().__init__()
        size = trace(patch_size, network.encoder_windows())[-1]
        self.residual = config.residual
        self.encoder = make_encoder(network, channels)
        self.bottleneck = Bottleneck(config, network.features[-1], size=size, dimensions=network.dimensions)
        self.decoder = make_decoder(network)
        self.output = make_head(network, 0, channels)
        self.apply(initialise)
        if config.residual:
            nn.init.zeros_(self.output.get_parameter(_weight_name(self.output)))

    def forward(self, x: Tensor) -> Reconstruction:
        """The reconstruction of a batch (B, C, ...)."""
        encoded = self._encoded(x)
        code = self.bottleneck.encode(encoded[-1])
        output = self._decoded(self.bottleneck.decode(code), encoded)
        return Reconstruction(x + output if self.residual else output, code)

    def encode(self, x: Tensor) -> Code:
        """The code of a batch (B, C, ...)."""
        return self.bottleneck.encode(self._encoded(x)[-1])

    def decode(self, units: Tensor) -> Tensor:
        """The output of codes, for networks without skip connections and residual."""
        features = self.bottleneck.decode(Code(units))
        return self._decoded(features, [features] * (1 + len(self.decoder)))

    def _encoded(self, x: Tensor) -> list[Tensor]:
        encoded = []
        for stage in self.encoder:
            x = stage(x)
            encoded.append(x)
        return encoded

    def _decoded(self, x: Tensor, encoded: list[Tensor]) -> Tensor:
        for index in reversed(range(len(self.decoder))):
            x = self.decoder[index](x, encoded[index])
        return self.output(x)


def _weight_name(output: nn.Module) -> str:
    return next(name for name, _ in output.named_parameters() if name.endswith("weight"))
