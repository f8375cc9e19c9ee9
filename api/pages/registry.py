"""The pages: their routers, and the navigation in its order."""

from typing import Final

from fastapi import APIRouter

from api.pages import (
    assets,
    batches,
    bulk,
    doctor,
    gates,
    job,
    jobs,
    letters,
    live,
    models,
    overview,
    providers,
    sign_in,
    stills,
    usage,
    webhooks,
    workers,
)
from api.pages.rendering import Entry

ROUTERS: Final[tuple[APIRouter, ...]] = (
    *(assets.router, sign_in.router, sign_in.own_router, live.router),
    *(overview.router, bulk.router, jobs.router, job.router, stills.router),
    *(batches.router, webhooks.router, letters.router, gates.router, models.router, usage.router),
    *(providers.router, workers.router, doctor.router),
)
ENTRIES: Final[tuple[Entry, ...]] = (
    *(overview.ENTRY, jobs.ENTRY, batches.ENTRY, webhooks.ENTRY, letters.ENTRY, gates.ENTRY),
    *(models.ENTRY, usage.ENTRY, providers.ENTRY, workers.ENTRY, doctor.ENTRY),
)
