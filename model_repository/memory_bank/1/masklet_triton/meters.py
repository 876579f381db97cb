"""The metrics of the bank in Triton's /metrics."""

from queue import SimpleQueue
from threading import Thread

import triton_python_backend_utils as pb_utils

from masklet_bank.metrics import TABLE, Meters


class TritonMeters(Meters):
    """The metrics of the bank in Triton's /metrics.

    Each operation is a message to Triton's process and back, 20 to 50 microseconds, and a frame makes about a dozen. So a thread sends them, while
    the engines run or the next frame is awaited.
    """

    def __init__(self, model):
        self._own = {} if model == "memory_bank" else {"model": model}  # several variants side by side have equal metrics
        self._families = {}  # a family lives as long as our reference to it
        self._series = {}
        for metric in TABLE:
            family = pb_utils.MetricFamily(name=metric.name, description=metric.help, kind=getattr(pb_utils.MetricFamily, metric.kind))
            self._families[metric.name] = family
            for value in metric.values:
                labels = self._own | ({metric.label: value} if metric.label else {})
                self._series[metric.name, value] = family.Metric(labels=labels, buckets=list(metric.buckets) or None)
        self._outbox = SimpleQueue()
        self._sender = Thread(target=self._send, name="metrics", daemon=True)
        self._sender.start()

    def increment(self, metric, by, label=""):
        """Adds to a counter."""
        self._outbox.put((self._series[metric.name, label].increment, by))

    def set(self, metric, value, label=""):
        """Sets a gauge. A label that the table does not know is a new series."""
        if (metric.name, label) not in self._series:
            self._series[metric.name, label] = self._families[metric.name].Metric(labels=self._own | {metric.label: label}, buckets=None)
        self._outbox.put((self._series[metric.name, label].set, value))

    def observe(self, metric, value, label=""):
        """Adds one value to a histogram."""
        self._outbox.put((self._series[metric.name, label].observe, value))

    def close(self):
        """Returns when everything is sent."""
        self._outbox.put(None)
        self._sender.join()

    def _send(self):
        said = False
        for operation, value in iter(self._outbox.get, None):
            try:
                operation(value)
            except Exception as error:
                if not said:
                    pb_utils.Logger.log_warn(f"memory_bank: metrics are not right any more: {error}")
                said = True


def meters_of(model):
    """Meters; those that do nothing where this Triton has no custom metrics. Videos are served either way."""
    try:
        return TritonMeters(model)
    except Exception as error:
        pb_utils.Logger.log_warn(f"memory_bank gives no metrics: {type(error).__name__}: {error}")
        return Meters()
