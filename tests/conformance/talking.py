"""Our adapters in conversation with the simulator, as the engine would have them."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from providers.base import Flow, Provider, Update
from providers.exchange import converse
from providers.registry import PROVIDERS, accounts
from settings import load
from tests.conformance.watching import Simulator, poll_until
from transport.fast import FastClient

T = TypeVar("T")


def told(simulator: Simulator, name: str, flow: Callable[[Provider], Flow[T]]) -> T:
    """What a verb of the provider comes to, for the account that the simulator gives."""
    account = accounts(load({"LONGTAKE_DATA_DIR": "/nonexistent", **simulator.env}))[name]
    provider = PROVIDERS[name]

    async def talk() -> T:
        client = FastClient.trusted()
        try:
            return await converse(
                flow(provider),
                provider=provider,
                account=account,
                client=client,
                now=1_800_000_000.0,
            )
        finally:
            await client.close()

    return asyncio.run(talk())


def settled(simulator: Simulator, name: str, operation_id: str) -> Update:
    """The operation's last update."""
    return poll_until(
        lambda: told(simulator, name, lambda provider: provider.poll([operation_id]))[operation_id],
        lambda update: update.phase.is_final,
    )[-1]
