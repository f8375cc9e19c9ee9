"""The API on a database and a storage folder of the test's own, called without a socket."""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg import sql

from api.app import create_app
from api.front import Front
from models.keys import create_key
from models.verbs import What
from settings import Settings, load
from stack.servers.postgres import EmbeddedPostgres

#: Runway has credentials, Luma has none; nobody listens on port 9.
ENVIRONMENT = {
    "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
    "LONGTAKE_BROKER_URL": "redis://127.0.0.1:9/0",
    "LONGTAKE_PUBLIC_URL": "https://videos.test",
    "RUNWAYML_API_SECRET": "key_for_tests_of_the_api",
    "RUNWAYML_BASE_URL": "http://127.0.0.1:9",
}
TABLES = (
    *("job", "attempt", "output", "event", "delivery", "idempotency", "due"),
    *("ledger_entry", "budget_use", "submission"),
)


@dataclass(slots=True)
class Hints:
    """What would have been sent to the broker."""

    sent: list[tuple[What, str | None]] = field(default_factory=list)

    def nudge(self, what: What, lane: str | None) -> None:
        self.sent.append((what, lane))

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """The application, a client with a valid key, and their backends."""

    app: FastAPI
    http: httpx.AsyncClient
    hints: Hints
    key: str

    @property
    def front(self) -> Front:
        front: Front = self.app.state.front
        return front

    async def new_key(self, tenant: str) -> str:
        _, plain = await self.front.engine.database.run(
            lambda connection: create_key(connection, tenant)
        )
        return plain

    async def submit(self, **fields: Any) -> dict[str, Any]:
        """A job that was accepted; by default a fox in the snow."""
        body = {"prompt": "a fox in fresh snow"} | fields
        answer = await self.http.post("/v1/video/generations", json=body)
        assert answer.status_code == 202, answer.text
        job: dict[str, Any] = answer.json()
        return job

    async def counts(self) -> Mapping[str, int]:
        """Rows in every table that a request may write."""
        sql = " UNION ALL ".join(
            f"SELECT '{name}' AS name, count(*) FROM {name}"  # noqa: S608 - constants
            for name in TABLES
        )
        rows = await self.front.engine.database.fetch(sql)
        return {row["name"]: row["count"] for row in rows}

    async def fetch(self, sql: str, *parameters: Any) -> list[dict[str, Any]]:
        return await self.front.engine.database.fetch(sql, parameters)


@asynccontextmanager
async def other_settings(
    database_url: str, folder: Path, **environment: str
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API with further settings, whose key is good."""
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(folder)}
    app = create_app(load(ENVIRONMENT | own | environment), hinter=Hints)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        database = app.state.front.engine.database
        _, key = await database.run(lambda connection: create_key(connection, "acme"))
        http.headers["Authorization"] = f"Bearer {key}"
        yield http


@pytest.fixture
def api_settings(database_url: str, tmp_path: Path) -> Settings:
    own = {"LONGTAKE_DATABASE_URL": database_url, "LONGTAKE_DATA_DIR": str(tmp_path)}
    return load(ENVIRONMENT | own)


@pytest.fixture
async def api(api_settings: Settings, anyio_backend: str) -> AsyncIterator[Api]:
    hints = Hints()
    app = create_app(api_settings, hinter=lambda: hints)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api.test") as http,
    ):
        made = Api(app=app, http=http, hints=hints, key="")
        key = await made.new_key("acme")
        http.headers["Authorization"] = f"Bearer {key}"
        yield Api(app=app, http=http, hints=hints, key=key)


@pytest.fixture
def inner_database_url(postgres_server: EmbeddedPostgres, template_database: str) -> Iterator[str]:
    """A second database, for the Longtake behind the first."""
    name = f"test_{secrets.token_hex(6)}"
    new, template = sql.Identifier(name), sql.Identifier(template_database)
    with psycopg.connect(postgres_server.url("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("create database {} template {}").format(new, template))
        yield postgres_server.url(name)
        admin.execute(sql.SQL("drop database {} with (force)").format(new))
