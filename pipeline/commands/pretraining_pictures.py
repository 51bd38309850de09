"""What can be watched while an autoencoder learns: its reconstructions, and the map of its codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.augmentation.sample import Sample
from pipeline.commands.run_folder import RunFolder
from pipeline.commands.tracked_files import decoration
from pipeline.report.plots import save_figure
from pipeline.report.reconstructions import Row, code_map, reconstructions
from pipeline.tracking.run import TrackedRun
from pipeline.training.reconstruction import Reconstructed, ValidationPatch


@dataclass(frozen=True)
class PretrainingPictures:
    """Pictures of a run as it goes on; none that cannot be drawn ends the run.

    Attributes:
        folder: the run's.
        run: in MLflow.
        bounds: intensities that are black and white.
        is_corrupted: whether the network sees something else than the scans.
        colours: what each case is coloured after on the map of the codes.
        colour_title: what that is; empty where all are alike.
        logs_map: whether MLflow gets the map, whose legend can name cases.
    """

    folder: RunFolder
    run: TrackedRun
    bounds: tuple[float, float]
    is_corrupted: bool
    colours: Mapping[str, str]
    colour_title: str
    logs_map: bool

    def draw_patches(self, samples: Sequence[Sample]) -> None:
        """Patches of the first batch, and what the network sees of them."""
        path = self.folder.figures / "patches.png"
        with decoration():
            rows = [Row(each["target"].numpy(), self._seen(each["image"])) for each in samples]
            save_figure(reconstructions(rows, self.bounds), path)
            self.run.log_file(path, "figures")

    def draw(self, found: Reconstructed, epoch: int) -> None:
        """What the network makes of the same validation scans each time, and where their codes lie."""
        with decoration():
            rows = [self._row(patch, image) for patch, image in found.shown]
            path = self.folder.figures / "reconstructions" / f"epoch_{epoch:04d}.png"
            save_figure(reconstructions(rows, self.bounds), path)
            self.run.log_picture(path, "reconstructions", epoch)
        with decoration():
            path = self.folder.figures / "codes" / f"epoch_{epoch:04d}.png"
            colours = [self.colours[case] for case in found.cases]
            save_figure(code_map(found.codes, colours, title=self.colour_title), path)
            if self.logs_map:
                self.run.log_picture(path, "codes", epoch)

    def _row(self, patch: ValidationPatch, image: Tensor) -> Row:
        """What lies in the scan of a patch, of what the network sees of it, and of what it makes of that."""
        scan, seen, made = (patch.of_scan(each) for each in (patch.target, patch.image, image))
        return Row(scan.numpy(), self._seen(seen), made.numpy())

    def _seen(self, image: Tensor) -> NDArray[np.float32] | None:
        return image.numpy() if self.is_corrupted else None
