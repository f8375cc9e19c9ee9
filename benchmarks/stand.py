"""The stand that benchmarks run on: a fresh PostgreSQL and Valkey, and the machine in words."""

import os
import platform
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import psutil
import psycopg

from benchmarks.processes import Tree
from models.migrate import upgrade
from settings import VENDOR_VARIABLES, environment
from worker.embedded.postgres import EmbeddedPostgres
from worker.embedded.valkey import EmbeddedValkey

_GB = 10**9
#: Encrypts nothing of worth: the stand lives for minutes.
_SECRET = "benchmark" * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Servers of their own, set up as the embedded stack sets them up: durable commits included."""

    database_url: str
    broker_url: str
    #: PostgreSQL with all its processes.
    database: Tree
    folder: Path

    def environment(self, **more: str) -> Mapping[str, str]:
        """What a process of the stand is started with; nothing of the caller's own set-up."""
        kept = {
            name: value
            for name, value in environment().items()
            if not name.startswith("LONGTAKE_") and name not in VENDOR_VARIABLES
        }
        return kept | {
            "LONGTAKE_DATABASE_URL": self.database_url,
            "LONGTAKE_BROKER_URL": self.broker_url,
            "LONGTAKE_DATA_DIR": str(self.folder),
            "LONGTAKE_SECRET_KEYS": _SECRET,
            **more,
        }


@contextmanager
def standing() -> Iterator[Stand]:
    """A stand that is gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="longtake-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # the account of an embedded server may have to pass
        postgres, valkey = EmbeddedPostgres(folder), EmbeddedValkey(folder)
        try:
            running, broker = postgres.start(), valkey.start()
            upgrade(running.url)
            yield Stand(
                database_url=running.url,
                broker_url=broker.url,
                database=Tree(running.pid),
                folder=folder,
            )
        finally:
            valkey.stop()
            postgres.stop()


def machine(stand: Stand) -> str:
    """The machine and the versions in one line: what a figure is worth nothing without."""
    with psycopg.connect(stand.database_url) as connection:
        postgres = connection.info.server_version // 10_000
    parts = (
        f"{os.cpu_count()} cores ({_processor()})",
        f"{psutil.virtual_memory().total / _GB:.0f} GB",
        f"load {os.getloadavg()[0]:.1f}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        f"PostgreSQL {postgres}",
        *(f"{name} {version(name)}" for name in ("celery", "aiohttp", "httpx", "psycopg")),
    )
    return ", ".join(parts)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
