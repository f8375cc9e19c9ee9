"""What is particular to the Dream Machine: its listing, and what finding nothing there proves."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from models.failure import Fault
from providers.base import Ask, Call, Found
from providers.luma_dream_machine import MOST_PAGES, PAGE, LumaDreamMachine
from transport.base import Response

CALLBACK = "https://longtake.example.com/callbacks/luma_dream_machine/m1"
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="ray-2",
    prompt="a cat",
    duration_seconds=5,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
    callback_url=CALLBACK,
)


def generation(name: str, **request: object) -> dict[str, Any]:
    asked = {"model": "ray-2", "prompt": "a cat", "callback_url": None} | request
    return {"id": name, "state": "queued", "request": asked}


def response(body: object, status: int = 200) -> Response:
    return Response(status=status, headers={}, content=json.dumps(body).encode())


def looked(ask: Ask, pages: Sequence[object]) -> tuple[Found, list[Call]]:
    """What a look-up makes of the listing's pages, and the calls that it made."""
    flow = LumaDreamMachine().look_up(ask)
    calls = [next(flow)]
    for page in pages:
        try:
            calls.append(flow.send(response(page)))
        except StopIteration as done:
            found: Found = done.value
            return found, calls
    raise AssertionError("it asks for more pages than there are")


def page(*generations: dict[str, Any], has_more: bool | None = None) -> dict[str, Any]:
    said = {} if has_more is None else {"has_more": has_more}
    return {"generations": list(generations), **said}


def test_the_generation_that_carries_our_callback_address_is_found_on_any_page() -> None:
    first = page(*(generation(f"g{n}") for n in range(3)), has_more=True)
    second = page(generation("g3"), generation("ours", callback_url=CALLBACK), has_more=True)

    found, calls = looked(ASK, [first, second])

    assert found == Found(operation_id="ours")
    assert [dict(call.query) for call in calls] == [
        {"limit": str(PAGE), "offset": "0"},
        {"limit": str(PAGE), "offset": "3"},
    ]


@pytest.mark.parametrize(
    "end", [page(has_more=False), page(), page(generation("x"), has_more=False)]
)
def test_absent_from_the_whole_listing_is_proof(end: object) -> None:
    found, _ = looked(ASK, [page(generation("g1"), {"id": "g2"}, has_more=True), end])
    assert found == Found(operation_id=None, is_proof=True)


def test_a_listing_that_is_longer_than_what_is_read_proves_nothing() -> None:
    found, calls = looked(ASK, [page(generation("g"), has_more=True)] * MOST_PAGES)
    assert found == Found(operation_id=None, is_proof=False)
    assert len(calls) == MOST_PAGES


@pytest.mark.parametrize("address", [None, "https://longtake.example.com/callbacks"])
def test_without_an_address_of_ours_alikes_are_told_and_nothing_is_proven(
    address: str | None,
) -> None:
    listing = page(
        generation("alike"),
        generation("of another prompt", prompt="a dog"),
        generation("of another model", model="ray-flash-2"),
        {"id": "says nothing", "request": None},
        has_more=False,
    )
    found, _ = looked(replace(ASK, callback_url=address), [listing])
    assert found == Found(operation_id=None, look_alikes=("alike",), is_proof=False)


@pytest.mark.parametrize(
    "listing",
    [
        {},
        {"generations": None},
        {"generations": {}},
        page({"id": 7, "request": {"callback_url": 7}}),
    ],
)
def test_a_listing_that_is_not_as_documented_is_not_read_as_empty(listing: object) -> None:
    with pytest.raises(ValueError, match=r"generations|callback_url"):
        looked(ASK, [listing])


@pytest.mark.parametrize(
    ("status", "words", "fault"),
    [
        (400, "Prompt not allowed because advanced moderation failed", Fault.MODERATED),
        (400, "duration: must be one of 5s, 9s", Fault.REFUSED),
        (429, "moderation queue is full", Fault.RATE),
        (500, "moderation is down", Fault.TRANSIENT),
    ],
)
def test_a_refusal_that_speaks_of_moderation_is_one(status: int, words: str, fault: Fault) -> None:
    failure = LumaDreamMachine().explain(response({"detail": words}, status))
    assert failure.fault is fault
    assert failure.message == f"Luma answered HTTP {status}: {words}"
