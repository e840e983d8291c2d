"""Live logs by looking: a read-only volume on another host's kernel sends no events."""

import logging
import threading

from dagster._core.storage.compute_log_manager import CapturedLogSubscription, ComputeLogManager

_INTERVAL_SECONDS = 1.0
_logger = logging.getLogger("dagster.compute_logs")


class PolledSubscriptions:
    """Fetches for each subscriber about once a second, in one thread that lives while there are any.

    Dagster's own watcher creates the directory it watches, which a read-only volume refuses.
    """

    def __init__(self, manager: ComputeLogManager, interval_seconds: float = _INTERVAL_SECONDS) -> None:
        self._manager = manager
        self._interval = interval_seconds
        self._lock = threading.Lock()
        self._subscriptions: list[CapturedLogSubscription] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def add_subscription(self, subscription: CapturedLogSubscription) -> None:
        """Serve this subscriber until its log is complete or it goes away."""
        with self._lock:
            self._subscriptions.append(subscription)
            if self._thread is None:
                self._thread = threading.Thread(target=self._poll, name="compute-logs", daemon=True)
                self._thread.start()

    def remove_subscription(self, subscription: CapturedLogSubscription) -> None:
        """Forget a subscriber."""
        with self._lock:
            if subscription in self._subscriptions:
                self._subscriptions.remove(subscription)
        subscription.complete()

    def dispose(self) -> None:
        """End the thread."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout=15)

    def _poll(self) -> None:
        while not self._stop.wait(self._interval):
            with self._lock:
                subscriptions = list(self._subscriptions)
                if not subscriptions:
                    self._thread = None
                    return
            for subscription in subscriptions:
                self._serve(subscription)

    def _serve(self, subscription: CapturedLogSubscription) -> None:
        try:
            # Asked first: what was written before the completion is fetched by the last look.
            complete = self._manager.is_capture_complete(subscription.log_key)
            subscription.fetch()
        except Exception:
            # One subscriber's trouble (a connection that went away) must not end the others'.
            _logger.exception("Stopped serving the log %s", subscription.log_key)
            complete = True
        if complete:
            self.remove_subscription(subscription)
