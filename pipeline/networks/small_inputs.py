"""Networks that see one small volume at a time, in evaluation alone. Tensors are B C D H W."""

import torch
from torch import Tensor, nn


class SmallConv3d(nn.Module):
    """A trained convolution that always runs in oneDNN, channels last.

    PyTorch hands a single volume to oneDNN only where C D H is above 20 480, and unfolds smaller ones (`use_mkldnn`
    in aten/src/ATen/native/Convolution.cpp), which takes twice as long: on one core of an x86 processor with AVX-512,
    an autoencoder of 8 to 32 features took 3.1 ms for 1 x 1 x 32 x 32 x 32, and takes 1.7 ms. The operator is the one
    that `torch.utils.mkldnn` calls.

    Args:
        trained: whose weights, strides and zeros at the borders are taken.
    """

    def __init__(self, trained: nn.Conv3d) -> None:
        super().__init__()
        assert trained.padding_mode == "zeros"
        assert not isinstance(trained.padding, str)
        self.weight = nn.Parameter(trained.weight.detach().contiguous(memory_format=torch.channels_last_3d))
        self.bias = trained.bias
        self.stride, self.dilation, self.groups = trained.stride, trained.dilation, trained.groups
        self.padding = trained.padding

    def forward(self, x: Tensor) -> Tensor:
        """As the trained one, of 32-bit values on a CPU."""
        return torch.mkldnn_convolution(
            x, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


def use_for_small_inputs(network: nn.Module) -> None:
    """Make the 3D convolutions of a network fast for a batch of one.

    The names of the weights stay the same, and the outputs do up to rounding. Where PyTorch comes without oneDNN, the
    network stays as it is.
    """
    if not torch.backends.mkldnn.is_available():
        return
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv3d):
                parent.add_module(name, SmallConv3d(layer))
