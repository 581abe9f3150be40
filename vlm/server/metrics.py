"""Figures for Prometheus, in a registry of their own: nothing of other libraries' is mixed in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from vlm.answer import Answer

if TYPE_CHECKING:
    from vlm.server.service import Service

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """What was counted since the start.

    Args:
        service: whose gate and engine are looked at when somebody asks.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vlm_requests", "HTTP requests that have ended.", ("route", "status"), registry=self._registry
        )
        self._answers = Counter(
            "vlm_answers", "Answers by why they ended.", ("finish_reason",), registry=self._registry
        )
        self._tokens = Counter("vlm_tokens", "Tokens of answers.", ("kind",), registry=self._registry)
        self._windows = Counter("vlm_windows", "Windows of images looked at.", registry=self._registry)
        self._first = Histogram(
            "vlm_first_piece_seconds",
            "From the request to the first piece of its answer.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._whole = Histogram(
            "vlm_answer_seconds",
            "From the request to the end of its answer.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._registry.register(_Now(service))

    def request_ended(self, scope: Scope, status: int) -> None:
        """Count a request; 499 where the client left before it was answered."""
        # Paths are the client's own words: only those that are routes become a label.
        route = getattr(scope.get("route"), "path", "other")
        self._requests.labels(route, str(status or 499)).inc()

    def first_piece(self, seconds: float) -> None:
        """Count the time a client waited."""
        self._first.observe(seconds)

    def answer_ended(self, answer: Answer, seconds: float) -> None:
        """Count an answer."""
        usage = answer.usage
        self._answers.labels(answer.finish_reason).inc()
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("image").inc(usage.image_tokens)
        self._tokens.labels("completion").inc(usage.completion_tokens)
        self._windows.inc(sum(used.window.kind != "blank" for used in answer.windows))
        self._whole.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Now(Collector):
    """What is true at the moment somebody asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges."""
        service = self._service
        yield GaugeMetricFamily("vlm_running", "Answers under way.", service.gate.running)
        yield GaugeMetricFamily("vlm_waiting", "Requests in the queue.", service.gate.waiting)
        yield GaugeMetricFamily("vlm_ready", "1 once the model is loaded.", service.state == "ok")
        for name, value in self._shared().items():
            yield GaugeMetricFamily(f"vlm_engine_{name}", f"The engine's {name.replace('_', ' ')}.", value)

    def _shared(self) -> dict[str, Any]:
        """What an engine for many tells of itself."""
        model = self._service.model
        stats = getattr(model.engine, "stats", None) if model is not None else None
        if stats is None:
            return {}
        told = stats()
        figures = asdict(told) if is_dataclass(told) and not isinstance(told, type) else vars(told)
        return {name: value for name, value in figures.items() if isinstance(value, int | float)}
