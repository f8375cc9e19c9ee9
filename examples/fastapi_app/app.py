"""A FastAPI app: a form submits a video, a webhook says that it is there, a page shows it."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path
from typing import Annotated

from fastapi import Depends, FastAPI, Form, HTTPException
from fastapi.responses import HTMLResponse, RedirectResponse

from longtake import AsyncClient, Job, WebhookEvent
from longtake.fastapi import webhook

SECRET = os.environ["WEBHOOK_SECRET"]
PUBLIC_URL = os.environ["PUBLIC_URL"]
PAGE = (Path(__file__).parent / "page.html").read_text()

#: By job id, newest first on the page; yours is a database.
jobs: dict[str, Job] = {}
#: Ids of the events that were handled; the same event may come again.
handled: set[str] = set()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with AsyncClient() as client:  # LONGTAKE_API_URL, LONGTAKE_API_KEY
        app.state.client = client
        yield


app = FastAPI(title="A video shop", lifespan=lifespan)


@app.post("/videos")
async def order(prompt: Annotated[str, Form(min_length=1, max_length=2000)]) -> RedirectResponse:
    client: AsyncClient = app.state.client
    job = await client.submit(
        prompt, model="luma", webhook_url=f"{PUBLIC_URL}/webhook", webhook_secret=SECRET
    )
    jobs.setdefault(job.id, job)  # its webhook may have been faster
    return RedirectResponse(f"/videos/{job.id}", status_code=303)


@app.post("/webhook", status_code=204)
async def hear(event: Annotated[WebhookEvent, Depends(webhook(SECRET))]) -> None:
    if event.id not in handled and event.type.startswith("video."):
        jobs[event.job.id] = event.job
        handled.add(event.id)


@app.get("/videos/{job_id}", response_class=HTMLResponse)
async def show(job_id: str) -> str:
    if job_id not in jobs:
        raise HTTPException(404, "there is no such video")
    return page(_card(jobs[job_id]), waits=not jobs[job_id].is_final)


@app.get("/", response_class=HTMLResponse)
async def shop() -> str:
    return page("".join(_card(job) for job in reversed(jobs.values())))


def page(cards: str, *, waits: bool = False) -> str:
    refresh = '<meta http-equiv="refresh" content="1">' if waits else ""
    return PAGE.replace("{refresh}", refresh).replace("{cards}", cards)


def _card(job: Job) -> str:
    inside = f'<p class="wait">{escape(job.status)} …</p>'
    if job.video_url:
        inside = f'<video src="{escape(job.video_url)}" controls muted loop autoplay></video>'
    elif job.is_final:
        reason = job.error.message if job.error else None
        inside = f'<p class="wait">{escape(reason or job.status)}</p>'
    link = f'<a href="/videos/{escape(job.id)}">{escape(job.prompt or "")}</a>'
    return f'<article class="{escape(job.status)}">{inside}<h2>{link}</h2></article>'
