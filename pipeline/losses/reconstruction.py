"""How far a reconstruction is from what it should be. Tensors are B C D H W, or B C H W for images."""

from monai.losses import SSIMLoss
from torch import Tensor, nn
from torch.nn import functional

from pipeline.config.autoencoder import SSIM_WINDOW, ReconstructionLossConfig


class ReconstructionLoss(nn.Module):
    """The weighted sum of mean squared error, mean absolute error, binary cross-entropy and 1 - SSIM.

    Args:
        config: the weights; what has none is not computed.
        bounds: the intensities that the cross-entropy takes for 0 and 1, and whose distance SSIM takes for the range.
        dimensions: 2 or 3.
    """

    def __init__(self, config: ReconstructionLossConfig, bounds: tuple[float, float], dimensions: int) -> None:
        super().__init__()
        self.config, self.bounds = config, bounds
        self.ssim = SSIMLoss(dimensions, data_range=bounds[1] - bounds[0], win_size=SSIM_WINDOW)

    def forward(self, output: Tensor, target: Tensor, counted: Tensor | None = None) -> Tensor:
        """Mean loss of a batch.

        Args:
            output: of the network (B, C, ...).
            target: the scans as they should be, of the same shape.
            counted: voxels that count (B, 1, ...); None where all do. SSIM always takes all.
        """
        image, config = as_image(output, config=self.config, bounds=self.bounds), self.config
        total = output.new_zeros(())
        if config.mse > 0:
            total = total + config.mse * _mean((image - target) ** 2, counted)
        if config.l1 > 0:
            total = total + config.l1 * _mean((image - target).abs(), counted)
        if config.bce > 0:
            low, high = self.bounds
            share = ((target - low) / (high - low)).clamp(0, 1)
            losses = functional.binary_cross_entropy_with_logits(output, share, reduction="none")
            total = total + config.bce * _mean(losses, counted)
        if config.ssim > 0:
            total = total + config.ssim * (1 - self.similarity(image, target))
        return total

    def similarity(self, image: Tensor, target: Tensor) -> Tensor:
        """SSIM of two images (B, C, ...), whose lower bound is taken for 0, which it depends on."""
        low = self.bounds[0]
        return 1 - self.ssim(image - low, target - low)


def as_image(output: Tensor, *, config: ReconstructionLossConfig, bounds: tuple[float, float]) -> Tensor:
    """The scan that an output of the network stands for: with a cross-entropy, shares of the range of intensities."""
    low, high = bounds
    return low + (high - low) * output.sigmoid() if config.bce > 0 else output


def _mean(losses: Tensor, counted: Tensor | None) -> Tensor:
    if counted is None:
        return losses.mean()
    shares = counted.expand_as(losses).to(losses.dtype)
    return (losses * shares).sum() / shares.sum().clamp_min(1)
