"""High-water marks: small objects beside the videos that record a database's generation.

Each generation has its own immutable mark, and the highest generation counts, so a late writer
can't lower it. The API does not expose marks.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from storage.base import NotStored, Storage, Unavailable

#: The folder of all marks, with one subfolder per installation.
FOLDER = "longtake/high-water-mark"
_NAME = re.compile(r"(\d{15})-([0-9a-f]{1,32})\.json", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The state of a database when the mark was written, by the database's clock."""

    installation: str
    generation: int
    nonce: str
    written_at: datetime
    #: The newest attempt that the writer sent. Informational: only the generation is compared.
    attempt: str | None = None
    sent_at: datetime | None = None
    #: PostgreSQL's system identifier and timeline, and the database's name and OID; None if the
    #: server does not allow reading them.
    system: str | None = None
    timeline: int | None = None
    database: str | None = None
    #: For each account, the fingerprints of its processes' credentials and when each was last
    #: seen. A look-up proves an absence only if the account never had other credentials.
    accounts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in fields.items()
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Mark":
        """The mark with these fields.

        Raises:
            KeyError, TypeError, ValueError: the fields are invalid.
        """
        known = {name: fields[name] for name in cls.__slots__ if name in fields}
        for name in ("written_at", "sent_at"):
            if known.get(name) is not None:
                known[name] = datetime.fromisoformat(known[name])
        return cls(**known)


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """The part of a mark that its key contains."""

    generation: int
    nonce: str


async def names(storage: Storage, installation: str) -> list[Name]:
    """The stored marks of an installation, newest last. Raises Unavailable."""
    found = []
    for key in await storage.notes(f"{FOLDER}/{installation}"):
        match = _NAME.fullmatch(key.rpartition("/")[2])
        if match:
            found.append(Name(int(match[1]), match[2]))
    return sorted(found)


async def read(storage: Storage, installation: str, name: Name) -> Mark | None:
    """A mark, or None if a newer one has just replaced it.

    Raises:
        Unavailable: the store does not answer, or the object is not a valid mark.
    """
    try:
        content = await storage.read_note(_key(installation, name))
    except NotStored:
        return None
    try:
        return Mark.from_json(json.loads(content))
    except (KeyError, TypeError, ValueError) as error:
        msg = f"the high-water mark of generation {name.generation} can't be read"
        raise Unavailable(msg) from error


async def write(storage: Storage, mark: Mark) -> None:
    """Store a mark, then delete the marks of earlier generations. Raises Unavailable."""
    own = Name(mark.generation, mark.nonce)
    await storage.put_note(_key(mark.installation, own), json.dumps(mark.as_json()).encode())
    for name in await names(storage, mark.installation):
        if name.generation < mark.generation:
            await storage.delete_note(_key(mark.installation, name))


def _key(installation: str, name: Name) -> str:
    return f"{FOLDER}/{installation}/{name.generation:015d}-{name.nonce}.json"
