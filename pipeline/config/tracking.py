"""Where runs are recorded."""

from typing import Literal

from pydantic import Field

from pipeline.config.base import Section


class TrackingConfig(Section):
    """MLflow. The server is the one that MLFLOW_TRACKING_URI names, or else a SQLite file in the working directory."""

    experiment: str = Field("medseg", min_length=1)
    """MLflow experiment that the run belongs to."""
    run_name: str | None = None
    """Name of the run; by default the configuration's name."""
    tags: dict[str, str] = Field(default={})
    """Tags of the run."""
    log_case_names: bool | Literal["auto"] = "auto"
    """Record split.json and checks.txt, which name cases; false keeps them in the run's folder alone. Auto: unless
    data.patient_pattern or data.patient_table says that the names tell patients apart."""
