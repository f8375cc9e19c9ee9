"""Batches over the API: many requests become jobs together, or none of them does."""

import asyncio
import json
from typing import Any

import httpx
import pytest

from models.budgets import set_budget
from models.invariants import violations
from models.limits import set_limits
from models.rows.limits import Holder
from models.rows.money import Period, Scope
from tasks.batches import checking
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio
PATH = "/v1/batches"


def jsonl(*lines: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


async def send(api: Api, body: bytes | Any, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await api.http.post(PATH, content=content, headers=headers)


async def test_lines_become_jobs_in_their_order(api: Api) -> None:
    answer = await send(
        api,
        jsonl(
            {"batch": {"name": "three", "defaults": {"duration_seconds": 5}}},
            {"prompt": "a fox", "custom_id": "fox"},
            {"custom_id": "owl", "request": {"prompt": "an owl", "duration_seconds": 10}},
            {
                "custom_id": "cat",
                "method": "POST",
                "url": "/v1/video/generations",
                "body": {"prompt": "a cat"},
            },
        ),
    )

    assert answer.status_code == 202, answer.text
    view = answer.json()
    assert view["status"] == "in_progress"
    assert view["name"] == "three"
    assert view["counts"]["total"] == view["counts"]["pending"] == 3
    jobs = await api.fetch(
        "SELECT batch_line, custom_id, prompt, plan ->> 'duration_seconds' AS seconds FROM job "
        "WHERE batch_id = %s ORDER BY batch_line",
        view["id"],
    )
    assert [tuple(job.values()) for job in jobs] == [
        (2, "fox", "a fox", "5"),
        (3, "owl", "an owl", "10"),
        (4, "cat", "a cat", "5"),
    ]
    counts = await api.counts()
    assert (counts["attempt"], counts["output"], counts["event"]) == (3, 3, 3)
    assert (counts["due"], counts["ledger_entry"]) == (7, 6)
    assert await api.front.engine.database.run(violations) == []


async def test_one_invalid_line_refuses_all(api: Api) -> None:
    answer = await send(api, jsonl({"prompt": "a fox"}, {"prompt": ""}, {"prompt": "b", "x": 1}))

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid_lines"
    assert error["error_count"] == 2
    assert [(each["line"], each["param"]) for each in error["errors"]] == [(2, "prompt"), (3, "x")]
    assert (await api.counts())["job"] == 0


PNG = "data:image/png;base64,iVBORw0KGgoAaaaa"


@pytest.mark.parametrize(
    "more",
    [
        {},
        {
            "image": PNG,
            "metadata": {"b": 1e22, "a": 1},
        },
    ],
    ids=["without pictures", "with pictures"],
)
async def test_a_line_makes_the_rows_of_a_single_request(api: Api, more: dict[str, Any]) -> None:
    request = {
        "prompt": "a fox\twith a \\, a\nline and 100 %(id)s",
        "model": "gen4.5",
        "seed": 7,
        "priority": "high",
        "count": 2,
        "metadata": {"order": 2**70, "text": "\u2028\\n"},
        "webhook_url": "https://example.com/hook",
        "start_within_seconds": 60,
    } | more
    single = await api.submit(**request)
    # The second line is made from the plan of the first.
    other = {**request, "prompt": "an owl", "seed": 1}
    answer = await send(api, [other, request], **{"X-App-ID": "shop"})
    assert answer.status_code == 202, answer.text

    jobs = await api.fetch("SELECT * FROM job ORDER BY batch_line NULLS FIRST")
    one, _, line = jobs
    assert one["id"] == single["id"]
    assert (line["batch_line"], line["app_id"]) == (2, "shop")
    vault = api.front.engine.vault
    for sealed in ("scene", "webhook"):
        assert vault.open_json(one.pop(sealed)) == vault.open_json(line.pop(sealed))
    times = {"deadline_at", "start_by"}
    assert {name: one[name] - one["created_at"] for name in times} == {
        name: line[name] - line["created_at"] for name in times
    }
    own = times | {"id", "request_id", "batch_id", "batch_line", "app_id", "created_at"}
    assert {k: v for k, v in one.items() if k not in own} == {
        k: v for k, v in line.items() if k not in own
    }
    assert await _rows_beside(api, one) == await _rows_beside(api, line)


async def _rows_beside(api: Api, job: dict[str, Any]) -> list[list[Any]]:
    """What the other tables have of a job, without ids and as times since its creation."""
    statements = (
        "SELECT provider, account, route, state, count, choice FROM attempt WHERE job = %(id)s",
        "SELECT position, state FROM output WHERE job = %(id)s ORDER BY position",
        "SELECT kind, detail FROM event WHERE job = %(id)s",
        (
            "SELECT what, lane, tenant, round(extract(epoch FROM at - %(at)s)) FROM due "
            "WHERE id = %(id)s OR id IN (SELECT id FROM attempt WHERE job = %(id)s) "
            "ORDER BY what, id"
        ),
        (
            "SELECT replace(entry_set, job, ''), account, amount_micros, tenant, api_key, gate, "
            "counts_at - %(at)s FROM ledger_entry WHERE job = %(id)s ORDER BY account"
        ),
        (
            "SELECT name, picture, fetched, bytes, picture.tenant FROM picture_use "
            "JOIN picture ON picture.id = picture WHERE job = %(id)s ORDER BY name"
        ),
    )
    given = {"id": job["id"], "at": job["created_at"]}
    database = api.front.engine.database
    return [[list(row.values()) for row in await database.fetch(sql, given)] for sql in statements]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the batch is empty"),
        (b"[]", "the batch is empty"),
        (b'{"batch": {}}\n\n', "the batch is empty"),
        (b'[{"prompt": "a"}', "line 1"),
        (b'[{"prompt": "a"}, {"prompt": "b"', "line 2"),
        (b'{"prompt": "a"}\n[1]', "line 2: a line must be a JSON object"),
        (b'{"prompt": "a"}\n"b"', "line 2: a line must be a JSON object"),
        (b'{"prompt": "a"}\n{"prompt": "\xff"}', "line 2 is not UTF-8"),
        (b'{"prompt": "a"}\n{"prompt": "\\u0000"}', "NUL"),
        (b'{"prompt": "a\x00"}', "line 1 is not JSON"),
        (b'{"prompt": "\\ud800"}', "surrogate"),
        (b'{"prompt": "a", "prompt": "b"}', "twice"),
        (b'{"prompt": "a", "max_cost_usd": NaN}', "NaN"),
        (b'{"custom_id": "x", "prompt": "a"}\n{"custom_id": "x", "prompt": "b"}', "unique"),
        (b'{"custom_id": "", "prompt": "a"}', "custom_id must be text"),
        (b'{"custom_id": 7, "prompt": "a"}', "custom_id must be text"),
        (b'{"batch": {"concurrency": 0}}\n{"prompt": "a"}', "options.concurrency"),
        (b'{"batch": {"defaults": {"promt": "a"}}}\n{"prompt": "a"}', "promt"),
        (b'{"batch": {"webhook_secret": "s"}}\n{"prompt": "a"}', "options.webhook_secret"),
        (b'{"prompt": "a", "gate": "none"}', "gate"),
        (b'{"prompt": "a", "image": {"job_id": "job_vid_none"}}', "no stored video"),
        (b'{"url": "/v1/images", "body": {"prompt": "a"}}', "url must be"),
        (b'{"request": {"prompt": "a"}, "x": 1}', "x is not a known field"),
    ],
)
async def test_bad_input_is_refused_and_says_where(api: Api, body: bytes, reason: str) -> None:
    answer = await send(api, body)

    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    shown = [error["message"], *(each["message"] for each in error.get("errors", []))]
    assert any(reason in message for message in shown), shown
    assert set((await api.counts()).values()) == {0}


async def test_invalid_lines_are_left_out_if_the_options_say_so(api: Api) -> None:
    lines = [{"batch": {"on_invalid": "skip"}}, {"prompt": "a"}, {"prompt": ""}, [1]]
    answer = await send(api, jsonl(*lines))

    assert answer.status_code == 202, answer.text
    view = answer.json()
    assert (view["counts"]["total"], view["counts"]["invalid"], view["error_count"]) == (3, 2, 2)
    assert [error["line"] for error in view["errors"]] == [3, 4]
    assert (await api.counts())["job"] == 1


async def test_at_most_a_thousand_errors_are_told_and_all_counted(api: Api) -> None:
    answer = await send(api, b'{"prompt": ""}\n' * 1200)

    error = answer.json()["error"]
    assert (len(error["errors"]), error["error_count"]) == (1000, 1200)


async def test_a_key_makes_one_batch_of_the_same_bytes(api: Api) -> None:
    body, key = jsonl({"prompt": "a"}, {"prompt": "b"}), {"Idempotency-Key": "k-1"}

    answers = await asyncio.gather(*(send(api, body, **key) for _ in range(3)))
    other = await send(api, body + b"\n", **key)
    single = await api.http.post("/v1/video/generations", json={"prompt": "a"}, headers=key)

    assert [answer.status_code for answer in answers] == [202] * 3
    assert len({answer.text for answer in answers}) == 1
    replayed = [answer.headers.get("Idempotent-Replayed") for answer in answers]
    assert sorted(map(str, replayed)) == ["None", "true", "true"]
    for refused in (other, single):
        assert refused.status_code == 422
        assert refused.json()["error"]["type"] == "idempotency_mismatch"
    assert (await api.counts())["job"] == 2


async def test_a_key_of_a_single_request_is_no_batchs(api: Api) -> None:
    key = {"Idempotency-Key": "k-2"}
    await api.http.post("/v1/video/generations", json={"prompt": "a"}, headers=key)

    answer = await send(api, jsonl({"prompt": "a"}), **key)

    assert answer.status_code == 422
    assert (await api.counts())["job"] == 1


async def test_a_batch_beyond_its_own_budget_or_its_tenants_is_refused_whole(api: Api) -> None:
    lines = [{"prompt": "a", "duration_seconds": 5}] * 3
    await api.front.engine.database.run(
        lambda c: set_budget(
            c,
            "acme",
            scope=Scope.TENANT,
            subject="acme",
            period=Period.TOTAL,
            limit_micros=1,
        )
    )

    dear = await send(api, {"options": {"max_cost_usd": 0.1}, "requests": lines})
    poor = await send(api, lines)

    assert dear.status_code == poor.status_code == 402
    assert dear.json()["error"]["code"] == "batch_budget_exceeded"
    assert poor.json()["error"]["code"] == "budget_exceeded"
    assert (await api.counts())["job"] == 0


async def test_lines_over_a_concurrency_limit_are_held(api: Api) -> None:
    answer = await send(api, {"options": {"concurrency": 1}, "requests": [{"prompt": "a"}] * 2})

    assert answer.status_code == 202, answer.text
    due = await api.fetch("SELECT what, lane, at > now() + interval '9 years' AS far FROM due")
    found = sorted(tuple(row.values()) for row in due)
    assert found == [
        *[("expire", "held", False)] * 2,
        *[("submit", "runway", True)] * 2,
        ("tally", "-", False),
    ]
    assert api.hints.sent == []


async def test_a_day_counts_lines_and_a_minute_batches(api: Api) -> None:
    await api.front.engine.database.run(
        lambda c: set_limits(c, Holder.TENANT, "acme", changes={"per_day": 3, "per_minute": 2})
    )

    statuses = [
        (await send(api, [{"prompt": "a"}] * count)).status_code for count in (4, 2, 2, 1, 1)
    ]

    assert statuses == [429, 202, 429, 202, 429]
    assert (await api.counts())["job"] == 3


async def test_gates_give_their_lines_turns(api: Api) -> None:
    gate = {
        "name": "both",
        "model": "runway-gen3",
        "fallback_models": ["runway/veo3.1"],
        "strategy": "round-robin",
    }
    assert (await api.http.post("/v1/gates", json=gate)).status_code == 201

    answer = await send(api, {"options": {"gate": "both"}, "requests": [{"prompt": "a"}] * 3})
    single = await api.submit(gate="both")

    assert answer.status_code == 202, answer.text
    jobs = await api.fetch("SELECT model FROM job ORDER BY batch_line")
    models = [job["model"] for job in jobs]
    assert models == ["runway-gen3", "runway/veo3.1"] * 2
    assert single["model"] == "runway/veo3.1"


async def test_lines_of_openais_batches_are_taken(api: Api) -> None:
    body = {"model": "runway-gen3", "prompt": "a fox", "seconds": "4", "size": "1280x720"}
    line = {"custom_id": "one", "method": "POST", "url": "/v1/videos", "body": body}

    answer = await send(api, jsonl(line))

    assert answer.status_code == 202, answer.text
    (job,) = await api.fetch("SELECT custom_id, prompt, model FROM job")
    assert tuple(job.values()) == ("one", "a fox", "runway-gen3")


async def test_more_lines_than_allowed_are_refused(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "MAX_LINES", 3)

    answer = await send(api, jsonl(*[{"prompt": "a"}] * 4))

    assert answer.status_code == 400
    assert answer.json()["error"]["errors"][0]["line"] == 4
    assert (await api.counts())["job"] == 0


async def test_a_picture_that_many_lines_share_is_kept_once(api: Api) -> None:
    # Given a picture that a job has already
    engine = api.front.engine
    known, other = PNG, "data:image/png;base64,iVBORw0KGgoA" + "b" * 100_000
    first = await api.submit(prompt="a fox", model="gen4.5", image=known)
    # When lines share it, and another one, of which only skipped lines have a third
    shared = [{"prompt": f"line {n}", "image": [known, other][n % 2]} for n in range(600)]
    bad = {"prompt": "", "image": "data:image/png;base64,iVBORw0KGgoAcccc"}
    options = {"defaults": {"model": "gen4.5"}, "on_invalid": "skip"}
    answer = await send(api, {"options": options, "requests": [*shared, bad]})
    assert answer.status_code == 202, answer.text
    # Then each is there once, as it was sent
    rows = await api.fetch("SELECT id, sealed, bytes FROM picture ORDER BY bytes")
    assert [engine.vault.open(row["sealed"]).decode() for row in rows] == [known, other]
    uses = await api.fetch("SELECT picture, count(*) AS n FROM picture_use GROUP BY picture")
    assert {row["picture"]: row["n"] for row in uses} == {rows[0]["id"]: 301, rows[1]["id"]: 300}
    assert await engine.database.run(violations) == []
    scenes = await api.fetch("SELECT scene FROM job WHERE batch_line <= 2 ORDER BY batch_line")
    named = [engine.vault.open_json(row["scene"])["image"] for row in scenes]
    assert named == [{"picture": row["id"]} for row in rows]
    assert first["id"]


async def test_a_batch_keeps_its_metadata_as_it_was_given(api: Api) -> None:
    metadata = {"z": 1, "a": [1e22, 2**70, 0.1], "m": {"y": 1, "b": 2}}
    options = {"metadata": metadata}
    answer = await send(api, {"options": options, "requests": [{"prompt": "a", "model": "gen4.5"}]})
    assert answer.status_code == 202, answer.text
    read = await api.http.get(f"/v1/batches/{answer.json()['id']}")
    for each in (answer, read):
        assert json.dumps(each.json()["metadata"]) == json.dumps(metadata)
