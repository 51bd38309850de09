"""Medical image segmentation: from a scan to a mask, with a U-Net trained on ground-truth masks."""

__version__ = "0.1.0"
