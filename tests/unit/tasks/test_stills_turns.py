"""Videos are inspected in turns of their tenants, and the number of waiting videos is bounded."""

import asyncio
from typing import Any, cast

import pytest

from storage.base import Unavailable
from tasks import stills
from tasks.engine import Engine
from tasks.jobs import StoredVideo
from tasks.stills import MOST_OF_TENANT, MOST_UNDER_WAY, StillsMaker

pytestmark = pytest.mark.anyio


def video(tenant: str, number: int) -> StoredVideo:
    return StoredVideo(
        job=f"job_{tenant}",
        tenant=tenant,
        position=number,
        key=f"videos/{tenant}/{number}.mp4",
        sha256="",
        bytes=1,
        content_type="video/mp4",
        stills_bytes=None,
    )


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tenants whose videos were inspected, in order."""
    made = list[str]()

    async def decoded(_: Engine, of: StoredVideo) -> None:
        made.append(of.tenant)
        await asyncio.sleep(0)

    async def keep(*_: Any) -> None:
        return None

    monkeypatch.setattr(stills, "_decoded", decoded)
    monkeypatch.setattr(stills, "_keep", keep)
    return made


def maker() -> StillsMaker:
    return StillsMaker(cast("Engine", None))


async def test_a_tenant_with_many_videos_delays_another_by_one(looks: list[str]) -> None:
    all_of = maker()
    asked = [video("acme", number) for number in range(5)] + [video("globex", 0)]

    await asyncio.gather(*(all_of.key_of(each, "poster") for each in asked))

    assert looks.index("globex") <= 1
    assert sorted(looks) == ["acme"] * 5 + ["globex"]


async def test_more_videos_of_a_tenant_than_may_wait_are_put_off(looks: list[str]) -> None:
    all_of = maker()
    asked = [video("acme", number) for number in range(MOST_OF_TENANT + 1)]

    found = await asyncio.gather(
        *(all_of.key_of(each, "poster") for each in (*asked, asked[0], video("globex", 0))),
        return_exceptions=True,
    )

    assert [type(each) for each in found] == [str] * MOST_OF_TENANT + [Unavailable, str, str]
    assert await all_of.key_of(asked[-1], "poster")
    assert len(looks) == MOST_OF_TENANT + 2


async def test_no_more_videos_wait_than_a_process_takes(looks: list[str]) -> None:
    all_of = maker()
    asked = [video(f"tenant-{number}", 0) for number in range(MOST_UNDER_WAY + 1)]

    found = await asyncio.gather(
        *(all_of.key_of(each, "poster") for each in asked), return_exceptions=True
    )

    assert [type(each) for each in found] == [str] * MOST_UNDER_WAY + [Unavailable]
    assert len(looks) == MOST_UNDER_WAY
