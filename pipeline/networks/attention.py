"""Attention on skip connections. Tensors are B C D H W, or B C H W in 2D."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.networks.blocks import LAYERS
from pipeline.sizes import Size


class AttentionGate(nn.Module):
    """Weigh each voxel of a skip connection by what the coarser decoder features say of its surroundings.

    Additive attention of Oktay et al. 2018 (arXiv:1804.03999, eq. 1 and 2, fig. 2): at the coarser resolution

        alpha = sigmoid(psi^T relu(W_x^T x + W_g^T g + b_g) + b_psi)

    where W_x is a convolution that steps down to the gating signal g, and W_g and psi are convolutions over one voxel;
    alpha is brought up to the resolution of x by linear interpolation, and x is multiplied by it. As in the paper's
    own code, the space in between has half of the skip's channels.

    Args:
        channels: of the skip connection x.
        gating: channels of g.
        stride: how many times finer x is than g, along each axis.
        dimensions: 2 or 3.
    """

    def __init__(self, channels: int, gating: int, stride: Size, *, dimensions: int) -> None:
        super().__init__()
        layers, between = LAYERS[dimensions], max(1, channels // 2)
        self.stride = stride
        self.mode = layers.interpolation
        self.of_skip = layers.conv(channels, between, stride, stride, bias=False)
        self.of_gating = layers.conv(gating, between, 1)
        self.activation = nn.ReLU(inplace=True)
        self.psi = layers.conv(between, 1, 1)

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        """``x`` (B, channels, ...) times weights between 0 and 1, from ``g`` (B, gating, ...), which is coarser."""
        alpha = torch.sigmoid(self.psi(self.activation(self.of_skip(x) + self.of_gating(g))))
        factors = [float(step) for step in self.stride]
        return x * functional.interpolate(alpha, scale_factor=factors, mode=self.mode, align_corners=False)
