"""Marks: small objects beside the videos that tell how far a database had come.

Each generation's mark is an object of its own and never changes, so a writer that comes late adds
one that no longer counts: the highest generation is the mark. No route of the API leads to them.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from storage.base import NotStored, Storage, Unavailable

#: The folder of all marks; each installation has one in it.
FOLDER = "longtake/high-water-mark"
_NAME = re.compile(r"(\d{15})-([0-9a-f]{1,32})\.json", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a database had come when this was stored, by its own clock."""

    installation: str
    generation: int
    nonce: str
    written_at: datetime
    #: The newest attempt that the writer knew to be sent, for people: the generation decides.
    attempt: str | None = None
    sent_at: datetime | None = None
    #: PostgreSQL's system identifier and timeline, and the database's name and number; None where
    #: the server keeps them to itself.
    system: str | None = None
    timeline: int | None = None
    database: str | None = None
    #: By account, the fingerprints of the credentials that its processes had, and when each was
    #: last told of: only who knows no others may prove that an operation is absent.
    accounts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        fields = asdict(self)
        return {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in fields.items()
        }

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Mark":
        """The mark again.

        Raises:
            KeyError, TypeError, ValueError: these are no mark's fields.
        """
        known = {name: fields[name] for name in cls.__slots__ if name in fields}
        for name in ("written_at", "sent_at"):
            if known.get(name) is not None:
                known[name] = datetime.fromisoformat(known[name])
        return cls(**known)


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What a mark's key tells of it."""

    generation: int
    nonce: str


async def names(storage: Storage, installation: str) -> list[Name]:
    """The stored marks of an installation, the newest last. Raises Unavailable."""
    found = []
    for key in await storage.notes(f"{FOLDER}/{installation}"):
        match = _NAME.fullmatch(key.rpartition("/")[2])
        if match:
            found.append(Name(int(match[1]), match[2]))
    return sorted(found)


async def read(storage: Storage, installation: str, name: Name) -> Mark | None:
    """A mark; None when a newer one has just replaced it.

    Raises:
        Unavailable: the store does not answer, or what it holds is no mark.
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
    """Store a mark, then remove those that it outdates. Raises Unavailable."""
    own = Name(mark.generation, mark.nonce)
    await storage.put_note(_key(mark.installation, own), json.dumps(mark.as_json()).encode())
    for name in await names(storage, mark.installation):
        if name.generation < mark.generation:
            await storage.delete_note(_key(mark.installation, name))


def _key(installation: str, name: Name) -> str:
    return f"{FOLDER}/{installation}/{name.generation:015d}-{name.nonce}.json"
