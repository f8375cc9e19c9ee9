"""Batches by both clients against the whole of Longtake, over a real socket."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import longtake
from longtake import AsyncClient, Client
from tests.conftest import Simulator
from tests.integration.api.serving import Longtake, serving
from tests.integration.api.test_client import SOON, Calls

pytestmark = pytest.mark.anyio

FOXES = [
    {"custom_id": "c0", "prompt": "a fox"},
    {"custom_id": "c1", "prompt": "[sim:fail] a fox"},
    {"custom_id": "c2", "prompt": "two foxes"},
]


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Longtake]:
    async with serving(database_url, tmp_path / "served", simulator.env) as one:
        yield one


@pytest.fixture(params=[Client, AsyncClient], ids=["sync", "async"])
async def client(request: pytest.FixtureRequest, server: Longtake) -> AsyncIterator[Calls]:
    calls = Calls(request.param(server.key, server.url))
    yield calls
    await calls.close()


def _source(kind: str, folder: Path) -> Any:
    if kind == "iterable":
        return iter(FOXES)
    path = folder / "foxes.jsonl"
    path.write_text("".join(json.dumps(fox) + "\n" for fox in FOXES))
    return path


@pytest.mark.parametrize("kind", ["iterable", "file"])
async def test_a_batch_is_submitted_waited_for_and_read(
    client: Calls, kind: str, tmp_path: Path
) -> None:
    batch = await client("batch", _source(kind, tmp_path), name="foxes", metadata={"k": "v"})
    assert (batch.counts.total, batch.name, batch.metadata) == (3, "foxes", {"k": "v"})

    seen: list[longtake.Batch] = []
    done = await client("batches.wait", batch.id, timeout=SOON, on_progress=seen.append)
    assert (done.status, done.counts.complete, done.counts.failed) == ("completed", 2, 1)
    assert (seen[0].id, seen[-1].is_final) == (batch.id, True)

    results = await client("batches.results", batch.id)
    assert [(each.line, each.custom_id, each.status) for each in results] == [
        (1, "c0", "complete"),
        (2, "c1", "failed"),
        (3, "c2", "complete"),
    ]
    assert [each.line for each in await client("batches.results", batch.id, after=2)] == [3]
    path = await client("download", results[0].job, tmp_path / "fox.mp4")
    assert path.stat().st_size == results[0].job.videos[0].bytes

    *_, last = await client("batches.events", batch.id)
    assert (last.kind, last.is_final) == ("final", True)
    assert await client("batches.events", batch.id, last_event_id=last.id) == []

    again = await client("batches.retry", batch.id)
    assert (again.retry_of, again.counts.total) == (batch.id, 1)
    assert (await client("batches.wait", again.id, timeout=SOON)).counts.failed == 1
    assert [each.id for each in await client("batches.list", limit=1)] == [again.id, batch.id]
    assert len(await client("list", batch_id=batch.id)) == 3


async def test_a_cancelled_batch_ends_and_is_submitted_again(client: Calls) -> None:
    batch = await client("batch", [{"prompt": "[sim:never] a fox"}] * 2)

    await client("batches.cancel", batch.id)

    assert (await client("batches.wait", batch.id, timeout=SOON)).status == "cancelled"
    again = await client("batches.retry", batch.id, include_cancelled=True)
    assert again.counts.total == 2


@pytest.mark.parametrize("kind", ["iterable", "bytes"])
async def test_an_invalid_line_has_the_callers_own_number(client: Calls, kind: str) -> None:
    bad: list[dict[str, Any]] = [{"prompt": "a fox"}, {"prompt": 5}]
    source = bad if kind == "iterable" else "\n".join(map(json.dumps, bad)).encode()

    for options in ({}, {"name": "foxes"}):
        with pytest.raises(longtake.InvalidRequest) as raised:
            await client("batch", source, **options)
        assert [each.line for each in raised.value.errors] == [2]
