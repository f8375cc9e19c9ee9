"""Schema migrations: upgrading a database."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from models.revision import require_known

#: Advisory lock held while migrating, so that concurrent starts migrate one at a time.
_LOCK = 0x10167A4E


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
        command.upgrade(configuration, "head")
        connection.commit()
    engine.dispose()


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
