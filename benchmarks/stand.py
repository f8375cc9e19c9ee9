"""The benchmark stand: a fresh PostgreSQL and Valkey, and a description of the machine."""

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
from providers.registry import names_credentials
from settings import environment
from stack.servers.postgres import EmbeddedPostgres
from stack.servers.valkey import EmbeddedValkey

_GB = 10**9
#: Protects nothing: the stand lives for minutes.
_SECRET = "benchmark" * 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """Dedicated servers, configured like the embedded stack, including durable commits."""

    database_url: str
    broker_url: str
    #: PostgreSQL's process tree.
    database: Tree
    folder: Path

    def environment(self, **more: str) -> Mapping[str, str]:
        """Environment for a process of the stand, without the caller's configuration."""
        kept = {
            name: value
            for name, value in environment().items()
            if not name.startswith("LONGTAKE_") and not names_credentials(name)
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
    """A stand for the duration of the block."""
    with tempfile.TemporaryDirectory(prefix="longtake-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # an embedded server's account may need to traverse it
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
    """Machine and versions in one line, without which results mean nothing."""
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
