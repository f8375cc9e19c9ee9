"""Runs an operator's work on the configured database, or with an engine on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cli.errors import Refused
from models.database import Connection, Database, require_answer
from models.failure import RequestRefused
from settings import load
from tasks.engine import Engine

T = TypeVar("T")


def in_transaction(
    work: Callable[[Connection], Awaitable[T]],
    *,
    then: Callable[[Database, T], Awaitable[None]] | None = None,
) -> T:
    """The result of `work` in one transaction.

    `then` gets the database and the result once they are committed.

    Raises:
        Refused: with a refusal's message.
        DatabaseAway: at once, where the first question stays without an answer.
    """

    async def run() -> T:
        url = load().require_database()
        await require_answer(url)
        database = Database(url, connections=2, timeout=2)
        try:
            result = await database.run(work)
            if then is not None:
                await then(database, result)
            return result
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except RequestRefused as error:
        raise Refused(error.message) from error


def with_engine(work: Callable[[Engine], Awaitable[T]]) -> T:
    """The result of `work` with an engine of its own; raises DatabaseAway as `in_transaction`."""

    async def run() -> T:
        settings = load()
        await require_answer(settings.require_database())
        engine = Engine.build(settings)
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())
