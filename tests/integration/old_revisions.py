"""Databases at an older revision of the schema, and their migration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from models.migrate import driver_url
from stack.servers.postgres import EmbeddedPostgres

MIGRATIONS = Path(__file__).parents[2] / "migrations"


@contextmanager
def database_at(server: EmbeddedPostgres, revision: str) -> Iterator[str]:
    """The URL of a new database at this revision, which is dropped at the end."""
    name = f"old_{uuid4().hex[:12]}"
    url = server.url(name)
    with psycopg.connect(server.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        migrate(url, revision)
        yield url
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def migrate(url: str, to: str, *, step: Callable[[Config, str], None] = command.upgrade) -> None:
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        configuration = Config()
        configuration.set_main_option("script_location", str(MIGRATIONS))
        configuration.attributes["connection"] = connection
        step(configuration, to)
        connection.commit()
    engine.dispose()
