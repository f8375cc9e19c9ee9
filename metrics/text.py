"""Prometheus' text format of what was read elsewhere."""

from collections.abc import Mapping, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from metrics.numbers import Family, Numbers, Summed

__all__ = ["CONTENT_TYPE_LATEST", "by_label", "gauge", "of_numbers", "written"]


class _Read:
    """What Prometheus' client calls a collector: families that are read already."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def written(families: Sequence[Metric]) -> bytes:
    """The families in the text format, version 0.0.4."""
    registry = CollectorRegistry()
    registry.register(_Read(families))
    return generate_latest(registry)


def gauge(name: str, explained: str, value: float) -> Metric:
    """A gauge without labels."""
    return GaugeMetricFamily(name, explained, value=value)


def by_label(name: str, explained: str, label: str, values: Mapping[str, float]) -> Metric:
    """A gauge with a sample for each value of one label."""
    family = GaugeMetricFamily(name, explained, labels=[label])
    for each, value in values.items():
        family.add_metric([each], value)
    return family


def of_numbers(numbers: Numbers) -> list[Metric]:
    """The families of the numbers, summed up over all processes that share their memory."""
    return [_family(family, sums) for family, sums in numbers.read()]


def _family(family: Family, sums: Sequence[Summed]) -> Metric:
    if not family.buckets:
        counter = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for each in sums:
            counter.add_metric(each.series, each.cells[0])
        return counter
    histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
    bounds = [*(repr(bound) for bound in family.buckets), "+Inf"]
    for each in sums:
        *counts, total = each.cells
        below = 0.0
        cumulated = [below := below + count for count in counts]
        histogram.add_metric(each.series, list(zip(bounds, cumulated, strict=True)), total)
    return histogram
