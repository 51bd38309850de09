"""How a trained model is run over scans."""

from typing import Literal

from pydantic import Field

from pipeline.config.base import AboveZero, NotNegative, Positive, Section


class WatershedConfig(Section):
    """How things that touch (cells, nuclei) are told apart; lengths are pixels where a pixel is taken to be 1 mm."""

    labels: tuple[str, ...] = Field(min_length=1)
    """Labels that are divided; of the others an instance is a connected part."""
    peak_distance_mm: NotNegative = 5.0
    """Two middles nearer to each other than this are of one instance: about the radius of the smallest instances."""
    peak_depth_mm: AboveZero = 0.75
    """Two middles are of two instances where the way between them is narrower than both by more than this, in radius. A
    value well below a pixel divides things with slanted borders, along which the grid alone makes middles."""


class SeriesConfig(Section):
    """Which series of DICOM are wanted, of the many that a study can have; what is left out is skipped."""

    modalities: tuple[str, ...] = ()
    """Modality, as DICOM has it: CT, MR, PT. By default any."""
    description: str | None = None
    """Pattern of SeriesDescription, in either case; * stands for anything: "*t1*post*". By default any."""
    uids: tuple[str, ...] = ()
    """SeriesInstanceUID of the series themselves. By default any."""


class InferenceConfig(Section):
    """Settings of the sliding window, of what follows it, and of the processes that read scans."""

    overlap: float = Field(0.5, ge=0, lt=1)
    """Share of a patch that it has in common with its neighbour."""
    tta: bool = False
    """Average over mirrored copies of the scan, along the axes that training mirrored."""
    keep_largest: tuple[str, ...] = ()
    """Labels of which only the largest connected part is kept."""
    watershed: WatershedConfig | None = None
    """How instances that touch are told apart, where instances are scored (evaluation.instances) or written
    (inference.instance_files); by default they are not: an instance is a connected part."""
    label_files: bool = False
    """Write a file for each label besides the mask, 1 where the label is."""
    probability_maps: bool = False
    """Write the probability of each label as a file: NIfTI, or TIFF of pictures, in 32-bit floats. Those of all labels
    are held in memory at once, 4 bytes a voxel each; masks alone are made block by block."""
    instance_files: tuple[str, ...] = ()
    """Labels whose instances (cells, nuclei) are counted and written as a file, numbered from 1. They are connected
    parts, divided where inference.watershed names the label, slice by slice where the model's evaluation.per_slice says
    so; of a label in its evaluation.walls, they are the parts that it divides."""
    viewer_pages: bool = True
    """Write a page for each case, on which a person can go through the slices with the mask over them; up to 8 MB."""
    series: SeriesConfig = SeriesConfig()
    """Which series of DICOM are wanted."""
    unpacked_gb: Positive = 20.0
    """What all zip files of scans together may grow to; they are unpacked into the system's folder for temporary files
    (TMPDIR)."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to run; auto takes a GPU where there is one."""
    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What runs a network that segments; auto is OpenVINO on a CPU, which is faster there, and PyTorch on a GPU, or
    where OpenVINO is missing or does not give what PyTorch gives. Autoencoders run in PyTorch."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the convolutions; auto takes that of the training where the machine has it, else fp32 on a CPU
    and bf16 or fp16 on a GPU."""
    threads: int | None = Field(None, ge=1)
    """Threads of the network on the CPU; by default as many as there are cores."""
    readers: int = Field(1, ge=1)
    """Processes that read and prepare scans while the network runs."""
    read_deadline_seconds: Positive = 120.0
    """A scan that is not read by then has failed."""
    reader_memory_gb: Positive = 16.0
    """A scan that needs more memory than this to be read has failed; where the machine has less, so has one that needs
    more than its share of what is free."""
