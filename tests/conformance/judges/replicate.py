"""Replicate's judge: replicate."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import httpx
from replicate.client import Client
from replicate.pagination import paginate

from tests.conformance.judging import DATA, IMAGE, LAST, PROMPT, Case, Judge, ask

TOKEN = "r8_test"
ID = "ufawqhfynnddngldkgtslldrkq"
#: As many as make a page worth reading.
MANY = [f"{number}fawqhfynnddngldkgtslldrkq" for number in range(9)]
VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
CALLBACK = "https://longtake.example.com/callbacks/replicate/m1?x=1&y=é"
PREDICTION = {
    "id": ID,
    "model": "google/veo-3.1-fast",
    "version": "hidden",
    "status": "starting",
    "input": {"prompt": PROMPT},
    "output": None,
    "logs": "",
    "error": None,
    "source": "api",
    "data_removed": False,
    "created_at": "2026-11-21T00:00:00.000Z",
    "urls": {"get": "https://api.replicate.com/v1/predictions/x", "cancel": "https://x/cancel"},
}


@contextmanager
def sdk(url: str) -> Iterator[Client]:
    client = Client(api_token=TOKEN, base_url=url, timeout=httpx.Timeout(10))
    yield client
    client._client.close()  # noqa: SLF001 - the SDK has no other way to close it


def submission(
    name: str, model: str, given: dict[str, Any], told: dict[str, Any] | None = None, **changes: Any
) -> Case:
    return Case(
        name,
        sdk=lambda client: client.models.predictions.create(
            model, input={"prompt": PROMPT} | given, **(told or {})
        ),
        ours=lambda provider: provider.submit(ask(**{"upstream": model} | changes)),
        answer=PREDICTION,
        status=201,
    )


REPLICATE = Judge(
    credentials={"REPLICATE_API_TOKEN": TOKEN},
    base_path="",
    client=sdk,
    cases=(
        submission(
            "submit text",
            "google/veo-3.1-fast",
            {
                "aspect_ratio": "9:16",
                "resolution": "1080p",
                "duration": 8,
                "generate_audio": False,
                "negative_prompt": "blur",
                "seed": 0,
            },
            told={"webhook": CALLBACK, "webhook_events_filter": ["start", "completed"]},
            callback_url=CALLBACK,
            aspect_ratio="9:16",
            resolution="1080p",
            duration_seconds=8,
            audio=False,
            negative_prompt="blur",
            seed=0,
        ),
        submission(
            "submit image",
            "kwaivgi/kling-v2.1",
            {"start_image": IMAGE, "mode": "standard", "duration": 5, "negative_prompt": "blur"},
            image=IMAGE,
            negative_prompt="blur",
        ),
        submission(
            "submit first and last image",
            "kwaivgi/kling-v2.1",
            {"start_image": DATA, "end_image": LAST, "mode": "pro", "duration": 10},
            image=DATA,
            last_image=LAST,
            resolution="1080p",
            duration_seconds=10,
        ),
        submission(
            "submit first and last image to Veo",
            "google/veo-3.1-fast",
            {
                "image": IMAGE,
                "last_frame": LAST,
                "aspect_ratio": "16:9",
                "resolution": "720p",
                "duration": 8,
            },
            image=IMAGE,
            last_image=LAST,
            duration_seconds=8,
        ),
        submission(
            "submit text to Kling",
            "kwaivgi/kling-v2.5-turbo-pro",
            {"aspect_ratio": "1:1", "duration": 5},
            aspect_ratio="1:1",
            resolution="1080p",
        ),
        submission(
            "submit an image to Kling, which takes its shape",
            "kwaivgi/kling-v2.5-turbo-pro",
            {"start_image": IMAGE, "duration": 5},
            image=IMAGE,
            resolution="1080p",
        ),
        Case(
            "submit to a version of a model that is not in the catalogue",
            sdk=lambda client: client.predictions.create(
                version=VERSION,
                input={
                    "prompt": PROMPT,
                    "image": IMAGE,
                    "aspect_ratio": "16:9",
                    "resolution": "720p",
                    "duration": 5,
                    "fps": 24,
                    "cfg_scale": 0.5,
                },
            ),
            ours=lambda provider: provider.submit(
                ask(upstream=f"someone/some-model:{VERSION}", image=IMAGE, fps=24, cfg_scale=0.5)
            ),
            answer=PREDICTION,
            status=201,
        ),
        Case(
            "poll",
            sdk=lambda client: client.predictions.get(ID),
            ours=lambda provider: provider.poll([ID]),
            answer=PREDICTION,
        ),
        Case(
            "survey",
            sdk=lambda client: client.predictions.list(),
            ours=lambda provider: provider.survey([ID]),
            answer={"previous": None, "next": None, "results": [PREDICTION]},
        ),
        Case(
            "survey two pages",
            sdk=lambda client: list(islice(paginate(client.predictions.list), 2)),
            ours=lambda provider: provider.survey([*MANY, *(f"{each}2" for each in MANY)]),
            answer={
                "previous": None,
                # As a path, so that the SDK stays on the loopback server.
                "next": "/v1/predictions?cursor=cD0yMDI2%3D",
                "results": [PREDICTION | {"id": each} for each in MANY],
            },
        ),
        Case(
            "cancel",
            sdk=lambda client: client.predictions.cancel(ID),
            ours=lambda provider: provider.cancel(ID),
            answer=PREDICTION | {"status": "canceled"},
        ),
    ),
)
