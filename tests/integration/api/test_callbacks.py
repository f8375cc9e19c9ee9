"""Providers' callbacks: a hint at an address that only one attempt's provider knows."""

import pytest

from models.state import What
from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio


async def test_a_callback_makes_the_attempts_next_poll_due_now(api: Api) -> None:
    await api.submit()
    await api.fetch("UPDATE job SET state = 'processing'")
    (attempt,) = await api.fetch(
        "UPDATE attempt SET state = 'accepted', operation_id = 'op-1' RETURNING marker"
    )
    await api.fetch(
        "UPDATE due SET what = 'poll', at = now() + interval '1 hour' WHERE what = 'submit'"
    )
    api.hints.sent.clear()
    del api.http.headers["Authorization"]

    answer = await api.http.post(f"/callbacks/runway/{attempt['marker']}", content=b"whatever")

    assert (answer.status_code, answer.content) == (204, b"")
    (due,) = await api.fetch("SELECT at <= now() AS is_due FROM due WHERE what = 'poll'")
    assert due["is_due"]
    assert api.hints.sent == [(What.POLL, "runway")]


@pytest.mark.parametrize("address", ["runway/nope", "nobody/nope", "runway/%00", "%00/x"])
async def test_an_address_that_was_never_given_out_is_404(api: Api, address: str) -> None:
    answer = await api.http.post(f"/callbacks/{address}", content=b"{}")

    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found"
    assert api.hints.sent == []
