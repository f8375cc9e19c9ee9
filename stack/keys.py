"""A stack's own secrets: created at the first start and stored beside the data (0600)."""

import secrets

from models.database import Connection, Database
from models.keys import create_key, find_key
from settings import Settings
from stack.files import DEV_API_KEY, SECRET_KEYS
from stack.folder import Folder

#: The development key's tenant.
TENANT = "default"


def secret_keys(folder: Folder) -> str:
    """The stack's LONGTAKE_SECRET_KEYS. Without them, sealed data can't be read."""
    if kept := folder.read(SECRET_KEYS):
        return kept
    made = secrets.token_urlsafe(36)
    folder.save(SECRET_KEYS, made)
    return made


async def developer_key(folder: Folder, settings: Settings) -> str:
    """An API key for local commands: the stored one, or a new one if the database lacks it."""
    database = Database(settings.require_database(), connections=2)
    try:
        kept = folder.read(DEV_API_KEY)
        found = await database.run(lambda c: find_key(c, kept)) if kept is not None else None
        if kept is not None and found is not None and found.expired_at is None:
            return kept
        plain = await database.run(_create)
        folder.save(DEV_API_KEY, plain)
        return plain
    finally:
        await database.close()


async def _create(connection: Connection) -> str:
    _, plain = await create_key(connection, TENANT)
    return plain
