"""Reading the gauges: all in one transaction, one reader at a time, remembered for seconds."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily

from metrics.gauges import GAUGES, Gauge
from metrics.text import written
from models.database import Connection, Database

#: Seconds for which a reading serves every scraper.
REMEMBERED = 5.0


class Reader:
    """One process's reader of the gauges; many scrapers cost as much as one."""

    def __init__(
        self,
        database: Database,
        *,
        gauges: Sequence[Gauge] = GAUGES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._gauges = gauges
        self._clock = clock
        self._lock = asyncio.Lock()
        self._text = b""
        self._until = -1.0

    async def read(self) -> bytes:
        """The gauges in Prometheus' text format, version 0.0.4.

        Raises:
            DatabaseAway: the database is unavailable.
        """
        async with self._lock:
            if self._clock() >= self._until:
                self._text = await self._database.run(self._read)
                self._until = self._clock() + REMEMBERED
            return self._text

    async def _read(self, connection: Connection) -> bytes:
        families = []
        for gauge in self._gauges:
            cursor = await connection.execute(gauge.sql)
            families.append(_family(gauge, await cursor.fetchall()))
        return written(families)


def _family(gauge: Gauge, rows: Sequence[dict[str, Any]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for row in rows:
        family.add_metric([row[label] for label in gauge.labels], float(row["value"]))
    return family
