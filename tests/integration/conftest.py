"""Engines on a database of the test's own, whose far side is a script or a bare socket."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from settings import load
from tasks.engine import Engine

#: Makes an engine; keywords are environment variables, and replace the ones here.
MakeEngine = Callable[..., Engine]

#: Every provider has credentials; nobody listens on port 9.
ENVIRONMENT = {
    "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
    "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
    "LONGTAKE_POLL_FLOOR_SECONDS": "0.05",
    "RUNWAYML_API_SECRET": "key_for_tests_of_the_engine",
    "RUNWAYML_BASE_URL": "http://127.0.0.1:9",
    "LUMA_AGENTS_API_KEY": "luma-for-tests-of-the-engine",
    "LUMA_BASE_URL": "http://127.0.0.1:9/v1",
}


@pytest.fixture
async def make_engine(
    database_url: str, tmp_path: Path, anyio_backend: str
) -> AsyncIterator[MakeEngine]:
    """Makes engines and closes their databases, since a pool's worker may lose a cancellation.

    Their inspectors are ended too: the pipes of a forgotten one would be a warning.
    """
    made: list[Engine] = []

    def make(**environment: Any) -> Engine:
        given = {name: str(value) for name, value in environment.items()}
        base = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}
        made.append(Engine.build(load(ENVIRONMENT | base | given)))
        return made[-1]

    yield make
    for engine in made:
        engine.inspectors.close()
        await engine.database.close()
