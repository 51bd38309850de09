"""What metrics are called, in scores and in files."""

from pipeline.config.evaluation import EvaluationConfig
from pipeline.scan import Unit

METRICS = ("dice", "iou", "precision", "recall", "hd95_mm", "asd_mm", "nsd", "volume_error_ml")
"""The metrics of every evaluation."""
INSTANCE_METRICS = (
    "rand_f",
    "rand_precision",
    "rand_recall",
    "vi_split",
    "vi_merge",
    "instance_f1",
    "instances_matched",
    "instances_missed",
    "instances_extra",
)
"""Those of `evaluation.instances`."""
CENTRELINE_METRICS = ("cl_dice",)
"""Those of `evaluation.centreline`."""
OPTIONAL_METRICS = (*INSTANCE_METRICS, *CENTRELINE_METRICS)
IN_PIXELS = {
    "hd95_mm": "hd95_px",
    "asd_mm": "asd_px",
    "nsd_tolerance_mm": "nsd_tolerance_px",
    "volume_error_ml": "volume_error_px",
    "absolute_volume_error_ml": "absolute_volume_error_px",
    "reference_ml": "reference_px",
    "predicted_ml": "predicted_px",
}
"""What measures are called in files where they are in pixels, because the scale of pictures is unknown."""


def metrics_of(config: EvaluationConfig) -> tuple[str, ...]:
    """The metrics that an evaluation with these settings has."""
    instances = INSTANCE_METRICS if config.instances else ()
    return (*METRICS, *instances, *(CENTRELINE_METRICS if config.centreline else ()))


def name_in(unit: Unit, metric: str) -> str:
    """What a metric or measure is called in files.

    Example:
        >>> name_in("px", "hd95_mm"), name_in("mm", "hd95_mm"), name_in("px", "dice")
        ('hd95_px', 'hd95_mm', 'dice')
    """
    return IN_PIXELS.get(metric, metric) if unit == "px" else metric
