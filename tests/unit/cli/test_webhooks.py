"""`longtake webhooks`: deliveries as a table, and a replay."""

from typing import Any

import pytest

from cli import show
from tests.unit.cli.scripted import FakeApi, Run

TRY: dict[str, Any] = {"number": 1, "status": 500, "error": "HTTP 500", "milliseconds": 9}
DELIVERY: dict[str, Any] = {
    "id": "evt_1",
    "job_id": "job_vid_1",
    "batch_id": None,
    "type": "video.completed",
    "status": "pending",
    "url": "https://example.com/hook",
    "tries": [TRY],
    "next_try_at": "2026-11-22T17:07:45.023Z",
    "try_under_way": False,
}


def page(*deliveries: dict[str, Any], following: str | None = None) -> tuple[int, Any]:
    return 200, {"data": deliveries, "has_more": following is not None, "next": following}


def test_webhooks_are_listed_with_the_last_answer_and_the_next_try(run: Run, api: FakeApi) -> None:
    # Given one that failed with an answer of a [bold] receiver, one that arrived, one not tried yet
    last = TRY | {"number": 2, "error": "[bold] refused"}
    arrived = {
        "status": "delivered",
        "next_try_at": None,
        "tries": [TRY | {"status": 204, "error": None}],
    }
    new: dict[str, Any] = {
        "job_id": None,
        "batch_id": "batch_1",
        "type": "batch.completed",
        "tries": [],
    }
    api.answers = [
        page(
            DELIVERY | {"tries": [TRY, last]},
            DELIVERY | {"id": "evt_2"} | arrived,
            DELIVERY | {"id": "evt_3"} | new,
            following="evt_3",
        )
    ]

    ended = run(
        "webhooks", "list", "--job", "job_vid_1", "--status", "pending", "--api-url", api.url
    )

    rows = [line.split() for line in ended.out.splitlines()[1:]]
    due = ["2026-11-22", "17:07:45"]
    assert rows == [
        ["evt_1", "pending", "video.completed", "job_vid_1", "2", "[bold]", "refused", *due],
        ["evt_2", "delivered", "video.completed", "job_vid_1", "1", "204"],
        ["evt_3", "pending", "batch.completed", "batch_1", "0", *due],
    ]
    assert ended.err == "More: --after evt_3\n"
    assert api.asked[0].path == "/v1/webhooks/deliveries?job_id=job_vid_1&status=pending&limit=20"


def test_a_narrow_terminal_shows_whole_ids_and_the_last_answer(
    run: Run, api: FakeApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook = f"evt_{26 * '0'}"
    long = {"id": webhook, "job_id": f"job_vid_{26 * '1'}", "status": "exhausted"}
    api.answers = [page(DELIVERY | long)]
    monkeypatch.setattr(show.out, "width", 80)

    ended = run("webhooks", "list", "--api-url", api.url)

    assert webhook in ended.out
    assert "500" in ended.out


@pytest.mark.parametrize(
    ("under_way", "said"),
    [
        (False, "evt_1 is sent again now.\n"),
        (True, "evt_1 is being sent; it is sent once more after that.\n"),
    ],
)
def test_a_replay_says_when_it_is_sent(
    run: Run, api: FakeApi, *, under_way: bool, said: str
) -> None:
    api.answers = [(202, DELIVERY | {"try_under_way": under_way})]

    ended = run("webhooks", "replay", "evt_1", "--api-url", api.url)

    assert (ended.code, ended.err) == (0, said)
    assert (api.asked[0].method, api.asked[0].path) == (
        "POST",
        "/v1/webhooks/deliveries/evt_1/replay",
    )


def test_an_unknown_webhook_is_the_apis_sentence(run: Run, api: FakeApi) -> None:
    api.refuse(404, "Webhook delivery not found", kind="not_found")

    ended = run("webhooks", "replay", "evt/../x", "--api-url", api.url)

    assert (ended.code, ended.err) == (2, "error: Webhook delivery not found\n")
    assert api.asked[0].path == "/v1/webhooks/deliveries/evt%2F..%2Fx/replay"
