"""Hosts and names of hostile tenants hang until they are let go, and then answer."""

import asyncio
from ipaddress import IPv4Network

import pytest

from tests.faults.harness.far_hosts import HANGING, SILENT, FarHosts, far_hosts
from tests.integration.engine.waiting import until
from transport.base import Request
from transport.fast import FastClient
from transport.guard import Guard

pytestmark = pytest.mark.anyio

LOOPBACK = Guard((IPv4Network("127.0.0.0/8"),))
EVENT = b'{"type": "video.completed", "data": {"id": "job_1", "status": "complete"}}'


def _post(hosts: FarHosts, url: str) -> Request:
    return Request(method="POST", url=url, content=EVENT, timeout=60, connect_timeout=60)


async def test_a_host_hangs_until_it_is_let_go() -> None:
    with far_hosts() as hosts:
        client = FastClient.guarded(LOOPBACK, name_servers=[hosts.names])
        posting = asyncio.create_task(client.send(_post(hosts, hosts.hanging(7, "/hooks/a"))))
        await until(lambda: hosts.hung == 1)
        assert not posting.done()
        assert not hosts.receipts

        hosts.let_go()

        assert (await posting).status == 204
        assert [receipt.job for receipt in hosts.receipts] == ["job_1"]
        assert f"n7.{HANGING}" in hosts.asked
        await client.close()


async def test_a_name_is_not_answered_until_it_is_let_go() -> None:
    with far_hosts() as hosts:
        client = FastClient.guarded(LOOPBACK, name_servers=[hosts.names])
        posting = asyncio.create_task(client.send(_post(hosts, hosts.silent(3, "/hooks/a"))))
        await until(lambda: f"n3.{SILENT}" in hosts.asked)
        assert not posting.done()

        hosts.let_go()  # c-ares asks again

        assert (await posting).status == 204
        await client.close()


async def test_a_caller_that_gave_up_is_not_answered_later() -> None:
    with far_hosts() as hosts:
        client = FastClient.guarded(LOOPBACK, name_servers=[hosts.names])
        given_up = asyncio.create_task(client.send(_post(hosts, hosts.hanging(1, "/hooks/a"))))
        await until(lambda: hosts.hung == 1)
        given_up.cancel()
        await asyncio.wait([given_up])
        await until(lambda: hosts.left == 1)

        hosts.let_go()

        answer = await client.send(_post(hosts, hosts.hanging(2, "/hooks/b")))
        assert answer.status == 204
        assert len(hosts.receipts) == 1
        await client.close()
