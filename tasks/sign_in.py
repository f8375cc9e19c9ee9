"""Use cases of sessions at the pages: what a link is to open, open, find, end."""

from models import page_sessions
from models.failure import RequestRefused
from models.page_sessions import Session
from tasks.engine import Engine


async def look_at(engine: Engine, link: str) -> Session:
    """What a link would open; it stays unused. Raises RequestRefused as `begin`."""
    session = await engine.database.run(
        lambda connection: page_sessions.find_link(connection, link)
    )
    if session is None:
        raise _useless()
    return session


async def begin(engine: Engine, link: str, cookie: str) -> None:
    """Use a link, and begin the session of whoever has `cookie`, a secret of 256 bits.

    Any number of times with the same cookie.

    Raises:
        RequestRefused: `not_found`: the link is unknown, was used, or is too old.
    """
    session = await engine.database.run(
        lambda connection: page_sessions.open_session(connection, link, cookie)
    )
    if session is None:
        raise _useless()


async def find(engine: Engine, cookie: str) -> Session | None:
    """The session of a cookie; None if it is unknown or has ended."""
    return await engine.database.run_statement(
        lambda connection: page_sessions.find_session(connection, cookie)
    )


async def end(engine: Engine, session: Session) -> None:
    """End a session; idempotent."""
    await engine.database.run(lambda connection: page_sessions.end_session(connection, session.id))


def _useless() -> RequestRefused:
    msg = "the link is unknown, was used before, or is older than 10 minutes: ask for a new one"
    return RequestRefused(msg, type="not_found", code="link_useless")
