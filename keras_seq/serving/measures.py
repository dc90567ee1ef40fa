"""The metrics of a server, in Prometheus's format."""

from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily

from keras_seq.serving.lanes import Item, padding

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Measures:
    """Counters and histograms, with the model as a label.

    Args:
        models: the models by name.
        batch_tokens: token budget of a batch, whose share is its fill.
    """

    def __init__(self, models: Mapping[str, Any], batch_tokens: int):
        self._models, self._batch_tokens = models, batch_tokens
        self._registry = registry = CollectorRegistry()
        model = {"labelnames": ["model"], "registry": registry}
        self._requests = Counter(
            "keras_seq_requests",
            "Requests by interface and status",
            ["model", "interface", "status"],
            registry=registry,
        )
        self._seconds = Histogram("keras_seq_request_seconds", "Latency of requests", buckets=SECONDS, **model)
        self._errors = Counter("keras_seq_errors", "Errors by kind", ["model", "kind"], registry=registry)
        self._rows = Histogram("keras_seq_batch_rows", "Rows of a batch", buckets=ROWS, **model)
        fill = [share / 10 for share in range(1, 11)]
        self._fill = Histogram(
            "keras_seq_batch_fill", "Share of the token budget that a batch has", buckets=fill, **model
        )
        self._waits = Histogram("keras_seq_wait_seconds", "Wait of a batch's first input", buckets=SECONDS, **model)
        self._computes = Histogram("keras_seq_batch_seconds", "Computation of a batch", buckets=SECONDS, **model)
        self._tokens = Counter("keras_seq_tokens", "Tokens of inputs, as the server counts them", **model)
        self._padding = Counter("keras_seq_padding_tokens", "Padding of batches, in tokens", **model)
        registry.register(self)

    def request(self, model: str, interface: str, status: int, seconds: float, error: str | None) -> None:
        """Counts a request. `model` is "" if it names none."""
        self._requests.labels(model, interface, str(status)).inc()
        self._seconds.labels(model).observe(seconds)
        if error is not None:
            self._errors.labels(model, error).inc()

    def batch(self, model: str, items: Sequence[Item], waited: float, seconds: float) -> None:
        """Counts a batch."""
        tokens, positions = padding(list(items))
        self._rows.labels(model).observe(sum(item.rows for item in items))
        self._fill.labels(model).observe(min(1.0, positions / self._batch_tokens))
        self._waits.labels(model).observe(waited)
        self._computes.labels(model).observe(seconds)
        self._tokens.labels(model).inc(tokens)
        self._padding.labels(model).inc(positions - tokens)

    def collect(self) -> Any:
        """The state of the models, read when the metrics are asked for."""
        queue = GaugeMetricFamily("keras_seq_queue", "Inputs that wait", labels=["model"])
        version = GaugeMetricFamily("keras_seq_version", "Version that is served", labels=["model"])
        processes = GaugeMetricFamily("keras_seq_processes", "Processes that run", labels=["model"])
        for name, model in self._models.items():
            if model.current is not None:
                running = [process for process in model.current.processes.values() if not process.ended.done()]
                queue.add_metric([name], len(model.current.batcher.lanes))
                version.add_metric([name], model.current.number)
                processes.add_metric([name], len(running))
        return [queue, version, processes]

    def written(self) -> bytes:
        """The metrics as text."""
        return generate_latest(self._registry)
