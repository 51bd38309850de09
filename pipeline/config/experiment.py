"""What every experiment has, whatever its network is trained for."""

from typing import Self

from pydantic import model_validator

from pipeline import sizes
from pipeline.config.augmentation import IMAGES_ALONE, AugmentationConfig
from pipeline.config.base import Section, refuse
from pipeline.config.cache import CacheConfig
from pipeline.config.data import DataConfig
from pipeline.config.inference import InferenceConfig
from pipeline.config.network import NetworkConfig
from pipeline.config.preprocessing import PreprocessingConfig
from pipeline.config.tracking import TrackingConfig
from pipeline.config.training import LoopConfig
from pipeline.errors import ConfigError


class Experiment(Section):
    """Data, preprocessing, network and the training loop."""

    name: str
    """Name of the experiment; runs are written to runs/<name>."""
    data: DataConfig
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    network: NetworkConfig = NetworkConfig()
    training: LoopConfig = LoopConfig()
    inference: InferenceConfig = InferenceConfig()
    tracking: TrackingConfig = TrackingConfig()
    cache: CacheConfig = CacheConfig()

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [*self._dimension_problems(), *self._augmentation_problems()]
        refuse(problems or self._size_problems())
        return self

    def _dimension_problems(self) -> list[str]:
        problems, dimensions = [], self.network.dimensions
        if len(self.training.patch_size) != dimensions:
            problems.append(
                f"training.patch_size needs {dimensions} entries, as network.dimensions says, "
                f"found {self.training.patch_size}"
            )
        if any(axis not in range(sizes.VOLUME) for axis in self.augmentation.mirror_axes):
            problems.append(
                f"augmentation.mirror_axes must be axes of a scan, from 0 to 2, found {self.augmentation.mirror_axes}"
            )
        return problems

    def _augmentation_problems(self) -> list[str]:
        """A transform without an effect would be believed to have one."""
        useless = IMAGES_ALONE if self.network.dimensions == 3 else ()
        return [
            f"augmentation.{name} is for images alone; for volumes set it to 0"
            for name in useless
            if getattr(self.augmentation, name) > 0
        ]

    def _size_problems(self) -> list[str]:
        """How the patch goes through the network, which can be said where both have the same axes."""
        try:
            reached = sizes.trace(self.training.patch_size, self.network.encoder_windows())[-1]
        except ConfigError as error:
            return [str(error)]
        if self.network.norm == "instance" and all(size == 1 for size in reached):
            return ["the last stage is a single voxel, which has no spread to normalise; use fewer stages"]
        return []
