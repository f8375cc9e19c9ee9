"""A submit in two halves: nothing paid is sent by the first, and all of it by the second."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from providers.base import Accepted, Account, Ask, Call, Flow, ProviderError
from providers.vendors.runway import Runway
from tasks.upstream import Upstream
from transport.base import Client, Request, Response
from transport.deadline import Deadline

pytestmark = pytest.mark.anyio

ACCOUNT = Account(
    name="runway",
    provider="runway",
    base_url="https://api.example.com",
    credentials={"RUNWAYML_API_SECRET": "key_0123456789"},
)
#: The verb below looks into neither.
ASK = cast("Ask", None)


class Uploading(Runway):
    """Uploads a picture, pays, and then reads the operation's id."""

    closed = False

    def submit(self, ask: Ask) -> Flow[Accepted]:
        del ask
        try:
            upload = yield Call(method="POST", path="/uploads", json={"name": "frame"})
            made = yield Call(
                method="POST", path="/videos", json={"image": upload.json()["id"]}, paid=True
            )
            told = yield Call(method="GET", path=f"/videos/{made.json()['id']}")
            return Accepted(operation_id=told.json()["operation"])
        finally:
            type(self).closed = True


@dataclass(slots=True)
class Recording:
    """Answers by path, and keeps what was sent."""

    answers: Mapping[str, Response]
    sent: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Response:
        self.sent.append(request)
        return self.answers[request.url.removeprefix(ACCOUNT.base_url)]


def said(content: bytes, status: int = 200) -> Response:
    return Response(status=status, headers={}, content=content)


ANSWERS = {
    "/uploads": said(b'{"id": "u1"}'),
    "/videos": said(b'{"id": "v1"}'),
    "/videos/v1": said(b'{"operation": "op1"}'),
}


def upstream(client: Recording) -> Upstream:
    return Upstream(
        provider=Uploading(),
        account=ACCOUNT,
        exact=cast("Client", client),
        polls=cast("Client", None),
        submit_timeout=7.0,
    )


async def test_what_was_prepared_is_sent_once_and_its_answer_read_to_the_end() -> None:
    client = Recording(ANSWERS)

    prepared = await upstream(client).prepare(ASK)
    assert [request.url for request in client.sent] == ["https://api.example.com/uploads"]

    accepted = await prepared.post(Deadline(5.0))
    assert accepted == Accepted(operation_id="op1")
    _, paid, _ = client.sent
    assert replace(paid, begin_by=None) == prepared.request
    assert paid.timeout == 7.0


async def test_a_post_may_begin_no_later_than_its_deadline_allows() -> None:
    client = Recording(ANSWERS)
    now = [0.0]
    deadline = Deadline(5.0, clocks=[lambda: now[0]])

    prepared = await upstream(client).prepare(ASK)
    now[0] = 6.0
    await prepared.post(deadline)

    begin_by = client.sent[1].begin_by
    assert begin_by is not None
    assert begin_by.is_over


@pytest.mark.parametrize("refused", ["/uploads", "/videos"])
async def test_an_error_of_either_half_ends_the_conversation(refused: str) -> None:
    client = Recording({**ANSWERS, refused: said(b'{"error": "no"}', status=400)})
    Uploading.closed = False

    async def submit() -> Any:
        prepared = await upstream(client).prepare(ASK)
        return await prepared.post(Deadline(5.0))

    with pytest.raises(ProviderError):
        await submit()
    assert Uploading.closed
    assert client.sent[-1].url.endswith(refused)
