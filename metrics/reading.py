"""Reading the gauges: all in one transaction, one reader at a time, remembered for seconds."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import structlog
from prometheus_client.core import GaugeMetricFamily
from psycopg.errors import QueryCanceled

from metrics.gauges import GAUGES, Gauge
from metrics.text import written
from models.database import Connection, Database

#: Seconds for which a reading serves every scraper.
REMEMBERED = 5.0
#: Seconds after which a statement that may take long is given up.
GIVEN_UP = 5
_Rows: TypeAlias = Sequence[dict[str, Any]]

log = structlog.get_logger()


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
        #: By gauge, of those that last: until when, and the rows.
        self._kept: dict[str, tuple[float, _Rows]] = {}

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
            if gauge.lasts:
                rows = await self._long(connection, gauge)
            else:
                rows = await _rows(connection, gauge)
            families.append(_family(gauge, rows))
        return written(families)

    async def _long(self, connection: Connection, gauge: Gauge) -> _Rows:
        """The rows of a statement that may take long; its last ones where it takes too long."""
        until, rows = self._kept.get(gauge.name, (-1.0, ()))
        if self._clock() >= until:
            try:
                async with connection.transaction():
                    await connection.execute(f"SET LOCAL statement_timeout = '{GIVEN_UP}s'")
                    rows = await _rows(connection, gauge)
                    await connection.execute("SET LOCAL statement_timeout TO DEFAULT")
            except QueryCanceled:
                log.warning("metrics.not_read", gauge=gauge.name, seconds=GIVEN_UP)
            self._kept[gauge.name] = (self._clock() + gauge.lasts, rows)
        return rows


async def _rows(connection: Connection, gauge: Gauge) -> _Rows:
    return await (await connection.execute(gauge.sql)).fetchall()


def _family(gauge: Gauge, rows: _Rows) -> GaugeMetricFamily:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    for row in rows:
        family.add_metric([row[label] for label in gauge.labels], float(row["value"]))
    return family
