"""What can be watched while an autoencoder learns: its reconstructions, and the map of its codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.augmentation.sample import Sample
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.tracked_files import SHOWN, decoration
from pipeline.report.plots import save_figure
from pipeline.report.reconstructions import Row, code_map, reconstructions
from pipeline.tracking.run import TrackedRun
from pipeline.training.reconstruction import Reconstructed, ValidationPatch


@dataclass(frozen=True)
class PretrainingPictures:
    """Pictures of a run as it goes on; they name no case, and none that cannot be drawn ends the run.

    Attributes:
        folder: the run's.
        run: in MLflow.
        patches: that are validated on.
        bounds: intensities that are black and white.
        is_corrupted: whether the network sees something else than the scans.
        colours: what each case is coloured after on the map of the codes.
        colour_title: what that is.
    """

    folder: RunFolder
    run: TrackedRun
    patches: Sequence[ValidationPatch]
    bounds: tuple[float, float]
    is_corrupted: bool
    colours: Mapping[str, str]
    colour_title: str

    def draw_patches(self, samples: Sequence[Sample]) -> None:
        """Patches of the first batch, and what the network sees of them."""
        path = self.folder.figures / "patches.png"
        with decoration():
            rows = [Row(each["target"].numpy(), self._seen(each["image"])) for each in samples[:SHOWN]]
            save_figure(reconstructions(rows, self.bounds), path)
            self.run.log_file(path, "figures")

    def draw(self, found: Reconstructed, epoch: int) -> None:
        """What the network makes of the same validation patches each time, and where their codes lie."""
        with decoration():
            pairs = zip(self.patches[:SHOWN], found.images, strict=False)
            rows = [Row(patch.target.numpy(), self._seen(patch.image), image) for patch, image in pairs]
            path = self.folder.figures / "reconstructions" / f"epoch_{epoch:04d}.png"
            save_figure(reconstructions(rows, self.bounds), path)
            self.run.log_picture(path, "reconstructions", epoch)
        with decoration():
            path = self.folder.figures / "codes" / f"epoch_{epoch:04d}.png"
            colours = [self.colours[patch.case] for patch in self.patches]
            save_figure(code_map(found.codes, colours, title=self.colour_title), path)
            self.run.log_picture(path, "codes", epoch)

    def _seen(self, image: Tensor) -> NDArray[np.float32] | None:
        return image.numpy() if self.is_corrupted else None
