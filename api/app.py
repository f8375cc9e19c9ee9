"""The HTTP application: routes, middleware and shared state."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

from api import callbacks, health, metrics
from api.admission import Admission, Gatekeeper, InvalidKeys
from api.auth import Keyring
from api.body import CappedBody
from api.dialects import DIALECTS
from api.dialects.dialect import Dialect
from api.document import Document
from api.edge import Edge, Faults
from api.errors import Renderer, Renderers, install
from api.framing import OneLength
from api.front import Front, Nudger
from api.heads import Heads
from api.limits import limits_of
from api.native import (
    accounts,
    batch_events,
    batch_results,
    batches,
    content,
    deliveries,
    events,
    gates,
    intake,
    jobs,
    ops,
    stills,
    usage,
)
from api.native import models as catalog
from api.numbers import HttpNumbers
from api.openapi import describe
from api.pages.errors import PageErrors
from api.pages.registry import ROUTERS as PAGES
from api.pages.visits import ROOT as PAGES_ROOT
from api.repeats import Answers, WatchedAnswers
from api.slashes import SingleSlashes
from api.streams import Streams
from api.watching import Watcher
from metrics.reading import Reader
from models.revision import newest
from settings import Settings
from tasks import glances, history
from tasks.batches import following
from tasks.engine import Engine
from tasks.stills import StillsMaker

_DESCRIPTION = """
Submit a prompt once; Longtake pays for it once, at whichever provider its routing chooses, keeps
status and progress true, brings the video into its own storage and sends a signed webhook.
"""


#: All routes but the pages' and the dialects'.
ROUTERS = tuple(
    module.router
    for module in (
        *(jobs, events, batches, batch_results, batch_events, content, stills, catalog, gates),
        *(deliveries, intake, usage, ops, accounts, health, metrics, callbacks),
    )
)


#: What pages of LONGTAKE_CORS_ORIGINS may send and read. Keys are headers: no cookie is needed.
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
_REQUEST_HEADERS = (
    *("Authorization", "X-API-Key", "Content-Type", "Idempotency-Key", "X-App-ID"),
    *("X-Request-ID", "Range", "If-Range", "If-None-Match", "Longtake-Repeats"),
    "Last-Event-ID",
    # OpenAI's SDK sends the others beside the first, which the API reads.
    *("X-Stainless-Retry-Count", "X-Stainless-Timeout", "X-Stainless-Lang", "X-Stainless-OS"),
    *("X-Stainless-Package-Version", "X-Stainless-Arch", "X-Stainless-Runtime"),
    *("X-Stainless-Runtime-Version", "X-Stainless-Helper-Method", "X-Stainless-Poll-Helper"),
    *("X-Stainless-Custom-Poll-Interval", "OpenAI-Organization", "OpenAI-Project"),
)
_RESPONSE_HEADERS = (
    *("Longtake-Adapted", "Longtake-Warning", "X-Job-ID", "X-Request-ID", "Retry-After"),
    *("Idempotent-Replayed", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
    *("Content-Range", "ETag", "openai-poll-after-ms", "x-should-retry"),
)


class _Api(FastAPI):
    _document: Document | None = None

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = describe(self)
        return self.openapi_schema

    def setup(self) -> None:
        """The framework's own route would encode the document for every request."""
        self.add_route("/openapi.json", self._send_document, include_in_schema=False)

    async def _send_document(self, request: Request) -> Response:
        if self._document is None:
            self._document = Document(self.openapi())
        return self._document.answer(request.headers.get("if-none-match"))


def create_app(
    settings: Settings,
    *,
    hinter: Callable[[], Nudger] | None = None,
    dialects: Sequence[Dialect] = DIALECTS,
) -> FastAPI:
    """The application; `hinter` sends hints, by default to the configured broker.

    Connections are open for the duration of the lifespan.
    """
    numbers = HttpNumbers()
    app = _Api(
        title="Longtake",
        version="1",
        description=_DESCRIPTION.strip(),
        docs_url=None,  # the default page loads scripts from a CDN
        redoc_url=None,
        redirect_slashes=False,
        lifespan=partial(
            _lifespan, settings=settings, numbers=numbers, hinter=hinter or _broker_hinter
        ),
    )
    for router in (*ROUTERS, *PAGES, *(dialect.router for dialect in dialects)):
        app.include_router(router)
    by_prefix: list[tuple[str, Renderer]] = [(PAGES_ROOT, PageErrors(settings.ui_prefix))]
    by_prefix += [(prefix, each.errors) for each in dialects for prefix in each.prefixes]
    install(app, Renderers(by_prefix))
    app.add_middleware(Heads)
    app.add_middleware(CappedBody, routes=app.routes)
    prefixes = [prefix for each in dialects for prefix in each.prefixes]
    app.add_middleware(SingleSlashes, prefixes=prefixes)
    app.add_middleware(WatchedAnswers)
    limits = limits_of(settings)
    invalid_keys = InvalidKeys(settings.invalid_keys_per_minute)
    admission = Admission(limits, proxies=settings.trusted_proxies, invalid_keys=invalid_keys)
    app.add_middleware(Gatekeeper, admission=admission)
    app.add_middleware(Faults)
    if settings.cors_origins:  # outside of all whose errors those pages read
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=_METHODS,
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_RESPONSE_HEADERS,
        )
    app.add_middleware(OneLength)
    app.add_middleware(Edge, numbers=numbers)
    return app


def _broker_hinter() -> Nudger:
    # Importing Celery's app reads its configuration, so not before startup.
    from tasks.job_events import TellingHinter  # noqa: PLC0415 - see above

    return TellingHinter()


@asynccontextmanager
async def _lifespan(
    app: FastAPI, *, settings: Settings, numbers: HttpNumbers, hinter: Callable[[], Nudger]
) -> AsyncIterator[None]:
    engine = Engine.build(settings)
    limits = limits_of(settings)
    front = Front(
        engine=engine,
        keyring=Keyring(engine.database),
        metrics=Reader(engine.database),
        numbers=numbers,
        hinter=hinter(),
        answers=Answers(engine),
        job_watcher=Watcher(partial(history.look, engine)),
        batch_watcher=Watcher(partial(following.look, engine)),
        page_watcher=Watcher(partial(glances.look, engine)),
        stills=StillsMaker(engine),
        streams=Streams(most=limits.streams, most_of_a_tenant=limits.streams_of_tenant),
        revision=await asyncio.to_thread(newest),
    )
    app.state.front = front
    front.answers.start()
    uses = front.keyring.uses
    uses.start()
    try:
        yield
    finally:
        front.is_draining = True
        await front.answers.close()
        front.streams.close()
        await front.job_watcher.close()
        await front.batch_watcher.close()
        await front.page_watcher.close()
        await front.stills.close()
        await uses.close()
        await asyncio.to_thread(front.hinter.close)
        await front.engine.close()
