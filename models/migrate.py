"""Bringing a database to the newest schema, and saying whether it is there."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

#: Held while migrating, so that two starts at once do it one after the other.
_LOCK = 0x10167A4E


def upgrade(url: str) -> None:
    """Migrate to the newest schema; harmless to repeat and to run from several processes."""
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        configuration = _configuration()
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, "head")
        connection.commit()
    engine.dispose()


def newest() -> str:
    """The revision that this code expects."""
    head = ScriptDirectory.from_config(_configuration()).get_current_head()
    return head or ""


def current(url: str) -> str | None:
    """The revision that a database is at."""
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def driver_url(url: str) -> str:
    """The URL with the driver that SQLAlchemy is to use."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1).replace(
        "postgres://", "postgresql+psycopg://", 1
    )


def _configuration() -> Config:
    configuration = Config()
    folder = Path(__file__).resolve().parent.parent / "migrations"
    configuration.set_main_option("script_location", str(folder).replace("%", "%%"))
    return configuration
