"""Listings: asked for where they pay, never the only witness, left alone where they fail."""

import asyncio
from collections.abc import Collection, Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from models.failure import Failure, Fault
from providers.base import Phase, ProviderError, Update
from providers.polling import PAYS
from scheduler.looks import Looks
from scheduler.pace import Pace
from tasks.engine import Engine
from tasks.outcomes.polled import PollItem
from tasks.surveyor import REST, Memory, Surveyor
from tasks.verbs.poll import Poll
from tasks.verbs.verb import Hold
from transport.base import BadAnswer

RUNNING = Update(phase=Phase.RUNNING)


class Listing:
    """An account's listing, and what it was asked for."""

    def __init__(self, *shown: str, error: Exception | None = None) -> None:
        self.shown = shown
        self.error = error
        self.asked: list[list[str]] = []
        self.now = 0.0
        self.surveyor = Surveyor("replicate", self.survey, clock=lambda: self.now)

    async def survey(self, wanted: Collection[str]) -> Mapping[str, Update]:
        self.asked.append(sorted(wanted))
        if self.error:
            raise self.error
        return {id_: RUNNING for id_ in wanted if id_ in self.shown}

    def looks(self, *ids: str) -> list[Update | None]:
        async def together() -> list[Update | None]:
            return await asyncio.gather(*map(self.surveyor.look, ids))

        return asyncio.run(together())


def some(count: int, prefix: str = "op") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_one_listing_answers_for_all_that_are_due_together() -> None:
    listing = Listing(*some(100))

    assert listing.looks(*some(100)) == [RUNNING] * 100
    assert listing.asked == [sorted(some(100))]


def test_a_few_operations_are_polled_alone() -> None:
    listing = Listing(*some(PAYS))

    assert listing.looks(*some(PAYS - 1)) == [None] * (PAYS - 1)
    assert listing.asked == []


def test_what_a_listing_does_not_show_is_polled_alone_and_looked_for_again_later() -> None:
    listing, old = Listing(*some(PAYS)), some(PAYS, "old")

    assert listing.looks(*some(PAYS), *old) == [RUNNING] * PAYS + [None] * PAYS
    listing.looks(*some(PAYS), *old)
    assert listing.asked[1] == some(PAYS)

    listing.now = 61.0
    listing.looks(*some(PAYS), *old)
    assert len(listing.asked[2]) == 2 * PAYS


@pytest.mark.parametrize(
    "error",
    [
        BadAnswer("not JSON"),
        ProviderError(Failure(fault=Fault.REFUSED, code="x", message="no such path"), status=404),
    ],
)
def test_a_listing_that_fails_is_left_alone_for_a_while(error: Exception) -> None:
    listing = Listing(*some(9), error=error)

    assert listing.looks(*some(9)) == [None] * 9
    assert listing.looks(*some(9)) == [None] * 9
    assert len(listing.asked) == 1

    listing.now, listing.error = REST + 1, None
    assert listing.looks(*some(9)) == [RUNNING] * 9


def test_a_rate_limit_is_everybodys() -> None:
    limited = ProviderError(Failure(fault=Fault.RATE, code="x", message="slow down"), status=429)
    listing = Listing(*some(9), error=limited)

    with pytest.raises(ProviderError):
        listing.looks(*some(9))
    # And no reason to leave the listing alone: single polls would be more of the same
    listing.error = None
    assert listing.looks(*some(9)) == [RUNNING] * 9


def test_a_listing_that_is_stale_for_ever_hides_no_end() -> None:
    asked: list[str] = []

    async def poll(ids: Collection[str]) -> Mapping[str, Update]:
        asked.extend(ids)
        return {id_: Update(phase=Phase.SUCCEEDED) for id_ in ids}

    async def survey(ids: Collection[str]) -> Mapping[str, Update]:
        return dict.fromkeys(ids, RUNNING)

    provider = SimpleNamespace(
        capabilities=SimpleNamespace(poll_many=1, listed=100, poll_ceiling=60.0, progress=False)
    )
    upstream = SimpleNamespace(provider=provider, poll=poll, survey=survey, asker=lambda: None)
    memory = Memory()
    engine = SimpleNamespace(
        looks=Looks(),
        upstream=lambda _: upstream,
        survey_memory=lambda _: memory,
        provider=lambda _: provider,
        poll_floor=lambda _: 3.0,
        poll_stride=lambda _: 3.0,
    )
    verb = Poll(engine=cast("Engine", engine))

    async def rounds(*, elapsed: float, count: int) -> None:
        items = [_item(id_, elapsed=elapsed) for id_ in some(20)]
        for _ in range(count):
            await asyncio.gather(*(verb.act(item, Hold("lease", Pace(100))) for item in items))

    asyncio.run(rounds(elapsed=50.0, count=3))
    assert not asked
    asyncio.run(rounds(elapsed=250.0, count=5))
    assert 0 < len(asked) < 50


def _item(id_: str, *, elapsed: float) -> PollItem:
    return PollItem(
        id=id_,
        job="job",
        tenant="t",
        account="replicate",
        operation_id=id_,
        route="replicate/model/5",
        elapsed=elapsed,
        typical=100.0,
        poll_faults=0,
        denied_for=None,
        estimate=0,
        is_wanted=True,
        shows_reports=False,
        time_left=1000.0,
        last_fault=None,
    )
