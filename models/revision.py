"""Which schema a database has, and which one this code wants; read without Alembic.

Servers ask at every start, and Alembic with SQLAlchemy costs each a second and 30 MB.
"""

import re
from pathlib import Path

import psycopg

VERSIONS = Path(__file__).resolve().parent.parent / "migrations" / "versions"
_NAMES = re.compile(r'^(revision|down_revision) = "([^"]+)"', re.MULTILINE)


class SchemaNewer(Exception):
    """A newer version of Longtake migrated the database; the message names both revisions."""


def newest(versions: Path = VERSIONS) -> str:
    """The newest revision in this code: the one that no other follows; "" if there is none.

    Raises:
        ValueError: the migrations do not end in one; the message names the ends.
    """
    made, followed = set(), set()
    for file in versions.glob("*.py"):
        named = dict(_NAMES.findall(file.read_text()))
        made.add(named.get("revision", ""))
        followed.add(named.get("down_revision", ""))
    ends = sorted(made - followed)
    if len(ends) > 1:
        raise ValueError(f"the migrations must end in one revision, not in {', '.join(ends)}")
    return ends[0] if ends else ""


def current(url: str) -> str | None:
    """The database's revision; None if it has no schema. Raises psycopg.OperationalError."""
    with psycopg.connect(url, connect_timeout=10, autocommit=True) as connection:
        if connection.execute("SELECT to_regclass('alembic_version')").fetchone() == (None,):
            return None
        found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return str(found[0]) if found else None


def require_known(url: str) -> None:
    """Raises SchemaNewer if this code has no migration to the database's revision.

    Raises psycopg.OperationalError as `current`.
    """
    found = current(url)
    if found is not None and found not in _known():
        raise SchemaNewer(
            f"the database's schema ({found}) is newer than this version of Longtake ({newest()}): "
            "use the version that migrated it, or a later one"
        )


def _known() -> set[str]:
    return {
        named["revision"]
        for file in VERSIONS.glob("*.py")
        if "revision" in (named := dict(_NAMES.findall(file.read_text())))
    }
