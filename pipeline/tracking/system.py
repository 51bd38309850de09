"""What the machine is doing while a run runs, as MLflow's own monitors see it."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from mlflow.system_metrics.metrics.base_metrics_monitor import BaseMetricsMonitor
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from pipeline.tracking.records import Metrics

PREFIX = "system/"
"""MLflow's pages show metrics with this prefix under a heading of their own."""
MARKER = "system/cpu_utilization_percentage"
"""A metric of every sample, by which a resumed run knows how many there are."""
log = logging.getLogger(__name__)


class SystemSampler(threading.Thread):
    """Takes a sample every few seconds until it is stopped.

    Args:
        add: is given each sample.
        seconds: between two samples.
        first_step: step of the first sample.
        clock: the time in milliseconds.
    """

    def __init__(
        self, add: Callable[[Metrics], None], seconds: float, *, first_step: int, clock: Callable[[], int]
    ) -> None:
        super().__init__(name="system-metrics", daemon=True)
        self._add, self._seconds, self._step, self._clock = add, seconds, first_step, clock
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Take no more samples."""
        self._stopped.set()

    def run(self) -> None:
        """Sample until stopped; the thread's own function."""
        monitors = _monitors()
        while not self._stopped.wait(self._seconds):
            try:
                self._add(Metrics(values=_sample(monitors), step=self._step, time_ms=self._clock()))
                self._step += 1
            except Exception as error:  # a sample less, never a run
                log.debug("no system metrics: %s", error)


def _monitors() -> list[BaseMetricsMonitor]:
    monitors: list[BaseMetricsMonitor] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with suppress(ImportError, RuntimeError):  # there is no NVIDIA GPU
        monitors.append(GPUMonitor())
    return monitors


def _sample(monitors: list[BaseMetricsMonitor]) -> dict[str, float]:
    values: dict[str, float] = {}
    for monitor in monitors:
        monitor.collect_metrics()
        values |= {f"{PREFIX}{name}": float(value) for name, value in monitor.aggregate_metrics().items()}
        monitor.clear_metrics()
    return values
