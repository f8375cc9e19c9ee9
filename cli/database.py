"""Runs an operator's work on the configured database, or with an engine on it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from cli.errors import Refused
from models.database import Connection, Database
from models.failure import RequestRefused
from settings import load
from tasks.engine import Engine

T = TypeVar("T")


def in_transaction(
    work: Callable[[Connection], Awaitable[T]],
    *,
    then: Callable[[Database, T], Awaitable[None]] | None = None,
) -> T:
    """The result of `work` in one transaction; raises Refused with a refusal's message.

    `then` gets the database and the result once they are committed.
    """

    async def run() -> T:
        database = Database(load().require_database(), connections=2, timeout=2)
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
    """The result of `work` with an engine of its own."""

    async def run() -> T:
        engine = Engine.build(load())
        try:
            return await work(engine)
        finally:
            await engine.close()

    return asyncio.run(run())
