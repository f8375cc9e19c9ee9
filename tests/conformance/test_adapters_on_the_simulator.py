"""Our adapters finish whole jobs against the simulator, lose answers and find them again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import pytest
from aiohttp import web

from catalog.models import Catalog, Model
from catalog.resolve import plan_on
from catalog.routes import Route
from models.failure import Fault
from models.request import VideoRequest
from providers.base import (
    Ask,
    Flow,
    Found,
    LookUp,
    Phase,
    ProviderError,
    Update,
)
from providers.exchange import converse
from providers.registry import PROVIDERS, accounts
from settings import Settings, load
from tests.conformance.watching import LOOK, SOON, Simulator
from transport.base import Unanswered
from transport.exact import ExactClient

T = TypeVar("T")

CATALOG = Catalog.load(Settings())
MARKER = "0marker0of0one0attempt0000"
NOBODY = "http://127.0.0.1:9/callbacks"
LINK, INLINE = "https://pictures.example/a.png", "data:image/png;base64,iVBORw0KGgo="

ALL = pytest.mark.parametrize("name", PROVIDERS)
FINDABLE = pytest.mark.parametrize(
    "name",
    [
        name
        for name, one in PROVIDERS.items()
        if set(one.capabilities.look_up) & {LookUp.EXTERNAL_ID, LookUp.LIST}
    ],
)


class Desk:
    """One provider's account at the simulator, and the client that speaks for us."""

    def __init__(self, name: str, env: Mapping[str, str]) -> None:
        self.provider = PROVIDERS[name]
        self._account = accounts(load({**env, "LONGTAKE_DATA_DIR": "/nonexistent"}))[name]
        self._client = ExactClient()
        #: The updates of a synchronous provider, which knows nothing afterwards.
        self._at_once: dict[str, Update] = {}

    async def told(self, flow: Flow[T]) -> T:
        return await converse(
            flow,
            provider=self.provider,
            account=self._account,
            client=self._client,
            now=time.time(),
        )

    async def submitted(self, ask: Ask) -> str:
        accepted = await self.told(self.provider.submit(ask))
        if accepted.update is not None:
            self._at_once[accepted.operation_id] = accepted.update
        return accepted.operation_id

    async def settled(self, operation_ids: Sequence[str]) -> Mapping[str, Update]:
        """All of them asked about together, as often as it takes."""
        if self._at_once:
            return {operation: self._at_once[operation] for operation in operation_ids}
        async with asyncio.timeout(SOON):
            while True:
                updates = await self.told(self.provider.poll(operation_ids))
                if all(update.phase.is_final for update in updates.values()):
                    return updates
                await asyncio.sleep(LOOK)

    async def close(self) -> None:
        await self._client.close()


def at_desk(name: str, env: Mapping[str, str], work: Callable[[Desk], Awaitable[T]]) -> T:
    async def run() -> T:
        desk = Desk(name, env)
        try:
            return await work(desk)
        finally:
            await desk.close()

    return asyncio.run(run())


def ask(
    name: str,
    *,
    prompt: str = "a cat",
    picture: bool = False,
    marker: str = MARKER,
    address: str | None = NOBODY,
) -> Ask:
    """What an attempt on the provider's first fitting route asks for.

    Nobody listens at the usual address, so who wants an answer from it first is given none.
    """
    picture = picture or not offers(name, picture=False)
    model, route = routes_of(name, picture=picture)[0]
    image = INLINE if PROVIDERS[name].capabilities.inline_pictures else LINK
    body = {"model": model.name, "prompt": prompt, **({"image": image} if picture else {})}
    plan = plan_on(VideoRequest.from_json(body), model=model, route=route)
    if PROVIDERS[name].capabilities.callback_challenged and address == NOBODY:
        address = None
    callback = f"{address}/{name}/{marker}" if address else None
    return plan.ask(attempt_id="a1", marker=marker, callback_url=callback)


def routes_of(name: str, *, picture: bool) -> list[tuple[Model, Route]]:
    wrong = "none" if picture else "required"
    return [
        (model, route)
        for model in CATALOG.models()
        for route in model.routes.values()
        if route.provider == name and route.image != wrong
    ]


def offers(name: str, *, picture: bool) -> bool:
    return bool(routes_of(name, picture=picture))


@ALL
def test_a_video_is_made_from_text_and_from_a_picture(simulator: Simulator, name: str) -> None:
    # Given what the provider's models take: most take both
    ways = [picture for picture in (False, True) if offers(name, picture=picture)]

    async def make_each(desk: Desk) -> Mapping[str, Update]:
        operations = [
            await desk.submitted(ask(name, marker=f"m{picture}", picture=picture))
            for picture in ways
        ]
        return await desk.settled(operations)

    updates = at_desk(name, simulator.env, make_each)

    assert [update.phase for update in updates.values()] == [Phase.SUCCEEDED] * len(ways)
    assert all(len(update.videos) == 1 for update in updates.values())
    assert len(simulator.bill()) == len(ways)


@pytest.mark.parametrize(
    "name", [name for name, one in PROVIDERS.items() if one.capabilities.listed]
)
def test_a_listing_tells_what_polls_of_each_operation_tell(simulator: Simulator, name: str) -> None:
    # Given more operations than fit on a page, of which one fails, and one that is not listed
    count = PROVIDERS[name].capabilities.listed + 20

    async def compare(desk: Desk) -> tuple[Mapping[str, Update], Mapping[str, Update]]:
        prompts = ["[sim:fail] a cat", *(f"cat {number}" for number in range(count - 1))]
        operations: list[str] = []
        for number, prompt in enumerate(prompts):
            operations.append(await desk.submitted(ask(name, prompt=prompt, marker=f"m{number}")))
            if number % 90 == 89:  # the simulator takes a hundred of a model at a time
                await desk.settled(operations)
        await desk.settled(operations)
        listed = await desk.told(desk.provider.survey([*operations, "nobody's"]))
        return listed, await desk.told(desk.provider.poll(operations))

    listed, alone = at_desk(name, simulator.env, compare)

    # Then the listing, page by page, tells the same of each, but for links, which are new each time
    assert len(listed) == count
    assert {id_: one.phase for id_, one in listed.items()} == {
        id_: one.phase for id_, one in alone.items()
    }
    for id_, update in listed.items():
        assert len(update.videos) == len(alone[id_].videos)
        assert update.failure == alone[id_].failure


@pytest.mark.parametrize(
    "name", [name for name, one in PROVIDERS.items() if one.capabilities.poll_many > 1]
)
def test_one_question_tells_of_as_many_operations_as_the_capabilities_say(
    simulator: Simulator, name: str
) -> None:
    most = PROVIDERS[name].capabilities.poll_many

    async def make_many(desk: Desk) -> tuple[list[str], Mapping[str, Update]]:
        asks = [ask(name, marker=f"m{number}", address=None) for number in range(most)]
        operations = [await desk.submitted(each) for each in asks]
        return operations, await desk.settled(operations)

    operations, updates = at_desk(name, simulator.env, make_many)

    assert list(updates) == operations
    assert {update.phase for update in updates.values()} == {Phase.SUCCEEDED}


@FINDABLE
@pytest.mark.parametrize("fault", ["drop_after_accept", "garbage"])
def test_an_operation_whose_answer_was_lost_is_found_again(
    simulator: Simulator, name: str, fault: str
) -> None:
    # Given another operation of the same account, and a POST whose answer is lost
    async def lose_and_look(desk: Desk) -> Found:
        await desk.submitted(ask(name, marker="another"))
        simulator.faults([{"provider": name, "on": "submit", "do": fault}])
        with pytest.raises(Unanswered):
            await desk.submitted(ask(name))
        # When it is looked up
        return await desk.told(desk.provider.look_up(ask(name)))

    found = at_desk(name, simulator.env, lose_and_look)

    # Then it is the one that was paid for last, and nothing was paid again
    bill = [row["operation_id"] for row in simulator.bill()]
    assert len(bill) == 2
    assert str(found.operation_id).rpartition("/")[2] == bill[1]


@FINDABLE
def test_what_was_never_accepted_is_proven_absent(simulator: Simulator, name: str) -> None:
    async def drop_and_look(desk: Desk) -> Found:
        simulator.faults([{"provider": name, "on": "submit", "do": "drop_before_accept"}])
        with pytest.raises(Unanswered):
            await desk.submitted(ask(name))
        return await desk.told(desk.provider.look_up(ask(name)))

    found = at_desk(name, simulator.env, drop_and_look)

    assert found == Found(operation_id=None, is_proof=True)
    assert simulator.bill() == []


@pytest.mark.parametrize(
    "name",
    [name for name, one in PROVIDERS.items() if LookUp.CALLBACK in one.capabilities.look_up],
)
def test_an_operation_whose_answer_was_lost_is_told_by_its_callback(
    simulator: Simulator, name: str
) -> None:
    """At the address of the very attempt; who wants an answer from it first has been given it."""

    async def lose_and_hear(desk: Desk) -> str:
        async with listening(desk) as (address, heard):
            simulator.faults([{"provider": name, "on": "submit", "do": "drop_after_accept"}])
            with pytest.raises(Unanswered):
                await desk.submitted(ask(name, address=address))
            path, told = await heard
            operation = desk.provider.operation_told(told, upstream=ask(name).upstream)
            assert path == f"/callbacks/{name}/{MARKER}"
            (update,) = (await desk.settled([operation])).values()
            assert update.phase is Phase.SUCCEEDED
            return operation

    operation = at_desk(name, simulator.env, lose_and_hear)

    (paid,) = simulator.bill()
    assert operation.rpartition("/")[2] == str(paid["operation_id"]).rpartition("/")[2]


@pytest.mark.parametrize(
    "name", [name for name, one in PROVIDERS.items() if one.capabilities.callback_challenged]
)
def test_a_submit_whose_address_nobody_answers_at_is_refused_for_the_moment(
    simulator: Simulator, name: str
) -> None:
    async def submit(desk: Desk) -> None:
        await desk.submitted(replace(ask(name), callback_url=f"{NOBODY}/{name}/{MARKER}"))

    with pytest.raises(ProviderError) as caught:
        at_desk(name, simulator.env, submit)

    assert caught.value.failure.fault is Fault.TRANSIENT
    assert caught.value.status in PROVIDERS[name].capabilities.refusals
    assert simulator.bill() == []


@asynccontextmanager
async def listening(desk: Desk) -> AsyncIterator[tuple[str, asyncio.Future[tuple[str, str]]]]:
    """A callback address, and the first operation of which it is told: its path and its id."""
    told: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()

    async def hear(request: web.Request) -> web.Response:
        body = await request.read()
        operation = desk.provider.callback_operation(body)
        if operation is not None and not told.done():
            told.set_result((request.path, operation))
        return web.Response(body=desk.provider.callback_reply(body))

    app = web.Application()
    app.router.add_post("/{path:.*}", hear)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with asyncio.timeout(SOON):
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/callbacks", told
    await runner.cleanup()


def test_luma_without_an_address_of_ours_proves_nothing(simulator: Simulator) -> None:
    name = "luma_dream_machine"
    unaddressed = ask(name, address=None)

    async def submit_and_look(desk: Desk) -> tuple[str, Found]:
        operation = await desk.submitted(unaddressed)
        return operation, await desk.told(desk.provider.look_up(unaddressed))

    operation, found = at_desk(name, simulator.env, submit_and_look)

    assert found == Found(operation_id=None, look_alikes=(operation,), is_proof=False)


@pytest.mark.parametrize(
    "name", [name for name, one in PROVIDERS.items() if one.capabilities.cancel]
)
def test_a_cancelled_operation_runs_no_longer(simulator: Simulator, name: str) -> None:
    async def cancel(desk: Desk) -> Mapping[str, Update]:
        # It waits long enough to be cancelled where only what waits can be
        operation = await desk.submitted(ask(name, prompt="[sim:slow] [sim:never] a cat"))
        await desk.told(desk.provider.cancel(operation))
        return await desk.told(desk.provider.poll([operation]))

    updates = at_desk(name, simulator.env, cancel)

    assert all(update.phase is Phase.CANCELLED for update in updates.values())


@ALL
@pytest.mark.parametrize(("script", "fault"), [("moderate", Fault.MODERATED), ("fail", None)])
def test_a_failure_says_whether_it_was_moderation(
    simulator: Simulator, name: str, script: str, fault: Fault | None
) -> None:
    async def fail(desk: Desk) -> Update:
        operation = await desk.submitted(ask(name, prompt=f"[sim:{script}] a cat"))
        return (await desk.settled([operation]))[operation]

    failure = at_desk(name, simulator.env, fail).failure

    assert failure is not None
    assert failure.fault is fault or (fault is None and failure.fault is not Fault.MODERATED)


@pytest.mark.parametrize("name", ["kling", "kling_legacy"])
def test_klings_refusal_of_a_used_id_is_no_reason_to_try_again(
    simulator: Simulator, name: str
) -> None:
    async def submit_twice(desk: Desk) -> None:
        await desk.submitted(ask(name))
        await desk.submitted(ask(name))

    with pytest.raises(ProviderError, match="1201") as caught:
        at_desk(name, simulator.env, submit_twice)

    assert caught.value.failure.fault is Fault.REFUSED
    assert len(simulator.bill()) == 1


def test_a_pair_of_klings_keys_signs_every_request(simulator: Simulator) -> None:
    env = {key: value for key, value in simulator.env.items() if key != "KLING_API_KEY"}

    async def make(desk: Desk) -> Mapping[str, Update]:
        return await desk.settled([await desk.submitted(ask("kling_legacy"))])

    (update,) = at_desk("kling_legacy", env, make).values()

    assert update.phase is Phase.SUCCEEDED
    wrong = env | {"KLING_SECRET_KEY": "another secret of the same 32 bytes"}
    with pytest.raises(ProviderError, match="1002") as caught:
        at_desk("kling_legacy", wrong, make)
    assert caught.value.failure.fault is Fault.AUTH
