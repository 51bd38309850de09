"""Where runs are recorded."""

from typing import Literal, Self

from pydantic import Field, model_validator

from pipeline.config.base import Positive, Section


class TrackingConfig(Section):
    """MLflow. The server is the one that MLFLOW_TRACKING_URI names, or else a SQLite file in the working directory."""

    experiment: str = Field("medseg", min_length=1)
    """MLflow experiment that the run belongs to."""
    run_name: str | None = None
    """Name of the run; by default the configuration's name."""
    tags: dict[str, str] = Field(default={})
    """Tags of the run."""
    register_as: str | None = Field(None, min_length=1)
    """Name under which the model is registered once it is trained; null registers none."""
    alias: str | None = Field(None, min_length=1)
    """Alias that then points to it, so that ``models:/NAME@ALIAS`` is the newest one; needs ``register_as``."""
    system_metrics_seconds: Positive | None = 15.0
    """Seconds between two looks at processor, memory, disk, network and GPUs; null records none of it."""
    wait_seconds: float = Field(20.0, ge=0)
    """How long the start and the end of a run wait for a server that does not answer. What could not be sent by then is
    kept in the run's folder; ``medseg sync`` sends it."""
    log_case_names: bool | Literal["auto"] = "auto"
    """Record files and texts of errors that name cases; false keeps them in the run's folder alone. Auto: unless
    data.patient_pattern or data.patient_table says that the names tell patients apart."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alias is not None and self.register_as is None:
            raise ValueError("alias needs the name of a registered model; set register_as as well, or leave alias out")
        return self
