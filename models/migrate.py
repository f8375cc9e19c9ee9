"""Schema migrations: upgrading a database."""

import time
from pathlib import Path
from typing import Final

import structlog
from alembic import command
from alembic.config import Config
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from models.revision import require_known

log = structlog.get_logger()

#: Advisory lock held while migrating, so that concurrent starts migrate one at a time.
_LOCK = 0x10167A4E
#: Seconds that a migration waits for a table that others use, such as a dump, and then pauses:
#: later statements on the table wait behind it meanwhile. The tries take about an hour.
_WAITS: Final = 2
_TRIES: Final = 900
#: Errors after which it is tried again: a worker may wait for one table and have another.
_OTHERS_USE_IT: Final = (LockNotAvailable, DeadlockDetected)


def upgrade(url: str) -> None:
    """Migrate to the newest schema; idempotent, and safe from several processes at once.

    Raises:
        SchemaNewer: a newer version of Longtake migrated it.
    """
    engine = create_engine(driver_url(url), poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _LOCK})
        connection.commit()
        require_known(url)
        configuration = _configuration()
        configuration.attributes["connection"] = connection
        _upgrade(connection, configuration)
        connection.commit()
    engine.dispose()


def _upgrade(connection: Connection, configuration: Config) -> None:
    """Upgrade in tries; each migration is committed alone, so a try resumes with the next one."""
    connection.execute(text(f"SET lock_timeout = '{_WAITS}s'"))
    connection.commit()
    for number in range(1, _TRIES + 1):
        try:
            command.upgrade(configuration, "head")
        except OperationalError as error:
            if not isinstance(error.orig, _OTHERS_USE_IT) or number == _TRIES:
                raise
            if number == 1:
                log.warning("migration.waits", error=str(error.orig).strip())
            connection.rollback()
            time.sleep(_WAITS)
        else:
            return


def driver_url(url: str) -> str:
    """The URL with SQLAlchemy's driver name."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1).replace(
        "postgres://", "postgresql+psycopg://", 1
    )


def _configuration() -> Config:
    configuration = Config()
    folder = Path(__file__).resolve().parent.parent / "migrations"
    configuration.set_main_option("script_location", str(folder).replace("%", "%%"))
    return configuration
