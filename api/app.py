"""The HTTP application: routes, middleware and what they share, put together."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI

from api import callbacks, catalog, content, deliveries, health, jobs
from api.auth import Keyring
from api.body import CappedBody
from api.edge import Edge
from api.errors import install
from api.front import Front, Nudger
from api.openapi import describe
from models import migrate
from settings import Settings
from tasks.engine import Engine

_DESCRIPTION = """
Submit a prompt once; Longtake pays for it once, at whichever provider its routing chooses, keeps
status and progress true, brings the video into its own storage and sends a signed webhook.
"""


#: Every route there is.
ROUTERS = tuple(module.router for module in (jobs, content, catalog, deliveries, health, callbacks))


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = describe(self)
        return self.openapi_schema


def create_app(settings: Settings, *, hinter: Callable[[], Nudger] | None = None) -> FastAPI:
    """The application; `hinter` makes what sends hints, by default to the settings' broker.

    Its connections live from the lifespan's start to its end.
    """
    app = _Api(
        title="Longtake",
        version="1",
        description=_DESCRIPTION.strip(),
        docs_url=None,  # the shipped page loads its scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=partial(_lifespan, settings=settings, hinter=hinter or _broker_hinter),
    )
    for router in ROUTERS:
        app.include_router(router)
    install(app)
    app.add_middleware(CappedBody)
    app.add_middleware(Edge)  # added last, so it is the outermost
    return app


def _broker_hinter() -> Nudger:
    # Celery's app reads its configuration when it is imported: not before the process begins.
    from tasks.hints import Hinter  # noqa: PLC0415 - see above

    return Hinter()


@asynccontextmanager
async def _lifespan(
    app: FastAPI, *, settings: Settings, hinter: Callable[[], Nudger]
) -> AsyncIterator[None]:
    engine = Engine.build(settings)
    front = Front(
        engine=engine,
        keyring=Keyring(engine.database),
        hinter=hinter(),
        revision=await asyncio.to_thread(migrate.newest),
    )
    app.state.front = front
    try:
        yield
    finally:
        front.is_draining = True
        await asyncio.to_thread(front.hinter.close)
        await front.engine.close()
