"""What is particular to the Dream Machine: its listing, and what finding nothing there proves."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from models.failure import Fault
from models.scene import Scene
from providers.base import Ask, Call, Found
from providers.vendors.luma_dream_machine import MOST_PAGES, OVERLAP, PAGE, LumaDreamMachine
from transport.base import Response

CALLBACK = "https://longtake.example.com/callbacks/luma_dream_machine/m1"
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="ray-2",
    scene=Scene(prompt="a cat"),
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


def made(*numbers: int) -> list[dict[str, Any]]:
    return [generation(f"g{number}") for number in numbers]


def test_the_generation_that_carries_our_callback_address_is_found_on_any_page() -> None:
    first = page(*made(*range(40)), has_more=True)
    second = page(*made(*range(30, 41)), generation("ours", callback_url=CALLBACK), has_more=True)

    found, calls = looked(ASK, [first, second])

    assert found == Found(operation_id="ours")
    assert [dict(call.query) for call in calls] == [
        {"limit": str(PAGE), "offset": "0"},
        {"limit": str(PAGE), "offset": str(40 - OVERLAP)},
    ]


ENDS = {
    "it says that nothing follows": page(*made(*range(30, 42)), has_more=False),
    "the end was deleted, in part": page(*made(35, 36), has_more=False),
    "it does not say, and repeats the end": page(*made(*range(30, 40))),
}


@pytest.mark.parametrize("end", ENDS)
def test_absent_from_the_whole_listing_is_proof(end: str) -> None:
    found, _ = looked(ASK, [page(*made(*range(40)), has_more=True), ENDS[end]])
    assert found == Found(operation_id=None, is_proof=True)


@pytest.mark.parametrize("empty", [page(has_more=False), page()])
def test_absent_from_an_empty_listing_is_proof(empty: object) -> None:
    assert looked(ASK, [empty])[0] == Found(operation_id=None, is_proof=True)


SHIFTED = {
    "the next page begins later": [page(*made(*range(45, 80)), has_more=False)],
    "the next page is empty": [page(has_more=False)],
    "a later page begins later": [
        page(*made(*range(30, 70)), has_more=True),
        page(*made(75, 76), has_more=False),
    ],
}


@pytest.mark.parametrize("shift", SHIFTED)
def test_a_listing_that_shifted_while_it_was_read_proves_nothing_yet(shift: str) -> None:
    found, _ = looked(ASK, [page(*made(*range(40)), has_more=True), *SHIFTED[shift]])
    assert found == Found(operation_id=None, is_proof=False, is_whole=False)


def test_what_was_made_meanwhile_hides_nothing() -> None:
    # Given a listing that says nothing of more, and 90 newer ones after its first page was read
    first = page(*made(*range(100)))
    again, rest = page(*made(*range(100))), page(*made(*range(90, 120)))

    found, calls = looked(ASK, [first, again, rest, page(*made(*range(110, 120)))])

    assert found == Found(operation_id=None, is_proof=True)
    assert len(calls) == 4


def test_a_listing_that_is_longer_than_what_is_read_proves_nothing() -> None:
    found, calls = looked(ASK, [page(*made(1, 2), has_more=True)] * MOST_PAGES)
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
