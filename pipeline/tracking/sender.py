"""A thread that takes a run's records to MLflow, and goes on trying while no server answers."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from pipeline.errors import UserError
from pipeline.tracking import address, store
from pipeline.tracking.identity import Identity, with_run_id
from pipeline.tracking.outbox import Outbox
from pipeline.tracking.records import AnyRecord, File, Metrics, Picture, Registration
from pipeline.tracking.sending import leading_metrics, send, send_metrics

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0
RECORDS_A_LOOK = 200
log = logging.getLogger(__name__)


class Sender(threading.Thread):
    """Establishes the run and sends its records in order; it never raises in the thread that records.

    Args:
        outbox: what is to be sent.
        identity: of the run.
        on_id: called once when MLflow has given the run its id.
    """

    def __init__(self, outbox: Outbox, identity: Identity, on_id: Callable[[Identity], None]) -> None:
        super().__init__(name="tracking", daemon=True)
        self.identity = identity
        self.root = Path.cwd()
        self.error: UserError | None = None
        self.trouble: str | None = None
        self._outbox, self._on_id = outbox, on_id
        self._client: MlflowClient | None = None
        self._known = threading.Event()  # the run is established, or cannot be
        self._wake = threading.Event()
        self._closing = self._given_up = False

    def wait_for_run(self, seconds: float) -> bool:
        """Wait until MLflow knows the run; returns whether it does.

        Raises:
            UserError: it never will.
        """
        self._known.wait(seconds)
        if self.error is not None:
            raise self.error
        return self._known.is_set()

    def notify(self) -> None:
        """There is something to send."""
        self._wake.set()

    def close(self, seconds: float) -> bool:
        """Send what is left, for so long at most; returns whether all has arrived."""
        self._closing = True
        self._wake.set()
        self.join(seconds)
        self._given_up = True  # nothing is sent any more behind the back of whoever goes on with the run
        return not self.is_alive() and len(self._outbox) == 0 and self.error is None

    def run(self) -> None:
        """Send until closed; the thread's own function."""
        pause = FIRST_PAUSE_SECONDS
        while not self._given_up:
            self._wake.clear()
            try:
                self._establish()
                self._send_waiting()
                self._send_late()
                self._note_recovery()
                pause = FIRST_PAUSE_SECONDS
                if self._closing and len(self._outbox) == 0:
                    return
                self._wake.wait()
            except UserError as error:
                self.error = error
                self._known.set()
                return
            except Exception as error:  # whatever it is, training goes on and it is tried again
                self._note_trouble(error)
                self._pause(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _pause(self, seconds: float) -> None:
        """Wait before the next try; new records do not shorten it, the end of the run does."""
        deadline = time.monotonic() + seconds
        while not self._closing and (left := deadline - time.monotonic()) > 0:
            self._wake.wait(left)
            self._wake.clear()
        if self._closing:
            time.sleep(min(seconds, FIRST_PAUSE_SECONDS))

    def _establish(self) -> None:
        if self._known.is_set():
            return
        self._client = store.connect_for(self.identity)
        run_id = store.establish(self._client, self.identity)
        self.identity = with_run_id(self.identity, run_id)
        self._on_id(self.identity)
        self._known.set()

    def _send_waiting(self) -> None:
        while not self._given_up and (records := self._outbox.next(RECORDS_A_LOOK)):
            metrics = leading_metrics(records)
            if len(metrics) > 1 and self._send_together(metrics):
                self._outbox.sent(len(metrics))
            elif self._send_first(records[0]):
                self._outbox.sent(1)
            else:
                self._outbox.put_aside()

    def _send_together(self, metrics: list[Metrics]) -> bool:
        """Send the metrics of many steps; False where one of them is refused, so that the others go alone."""
        assert self._client is not None
        assert self.identity.run_id is not None
        try:
            send_metrics(self._client, self.identity.run_id, metrics)
        except Exception as error:
            if not store.is_refused(error):
                raise
            return False
        return True

    def _send_first(self, record: AnyRecord) -> bool:
        """Send a record; False where it is a file's and the server is there, but not the place where files go."""
        assert self._client is not None
        assert self.identity.run_id is not None
        if isinstance(record, Registration) and self._outbox.late():  # of the model, which may be among them
            return False
        try:
            self._deliver(record)
        except Exception as error:
            if not isinstance(record, File | Picture):
                raise
            self._client.get_run(self.identity.run_id)
            self._note_trouble(error)
            return False
        return True

    def _send_late(self) -> None:
        """Try what was put aside once more, and a registration after everything else."""
        failure: Exception | None = None
        for each in self._outbox.late():
            if self._given_up or (failure is not None and isinstance(each.record, Registration)):
                continue
            try:
                self._deliver(each.record)
            except Exception as error:  # whatever it is, the others are tried too
                failure = error
                continue
            self._outbox.late_sent(each)
        if failure is not None:
            raise failure

    def _deliver(self, record: AnyRecord) -> None:
        """Send a record, or say that MLflow will never take it."""
        assert self._client is not None
        assert self.identity.run_id is not None
        try:
            send(self._client, self.identity.run_id, self.root, record=record)
        except Exception as error:
            if not store.is_refused(error):
                raise
            log.warning("MLflow does not take %s of the run: %s", record.kind, address.reason_in_short(error))

    def _note_trouble(self, error: Exception) -> None:
        reason = address.reason_in_short(error)
        if self.trouble is None:
            log.warning(
                "MLflow at %s cannot be told all (%s); what is recorded is kept and sent later",
                address.without_login(self.identity.uri),
                reason,
            )
        self.trouble = reason

    def _note_recovery(self) -> None:
        if self.trouble is not None:
            log.warning("MLflow at %s has been told all", address.without_login(self.identity.uri))
        self.trouble = None
