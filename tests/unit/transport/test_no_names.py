"""No look-up of a test leaves this machine, in its process or in one that it starts."""

import asyncio
import os
import socket
import subprocess
import sys

import aiodns
import httpx
import pytest

from tests._offline.names import NoNames
from tests.conformance.driving import node
from transport.base import NotSent, Request
from transport.fast import FastClient

#: Asks for names in all the ways in which our processes do; each answer is a line.
PROGRAM = """
import asyncio, socket, sys
import aiodns, uvloop

async def main():
    loop = asyncio.get_running_loop()
    for asking in (
        loop.getaddrinfo("by-asyncio.example.com", 443),
        loop.create_connection(asyncio.Protocol, "by-connection.example.com", 443),
        asyncio.to_thread(socket.getaddrinfo, "by-libc.example.com", 443),
        asyncio.to_thread(socket.gethostbyname, "by-name.example.com"),
        aiodns.DNSResolver().getaddrinfo(sys.argv[1], socket.AF_INET),
    ):
        try:
            await asking
        except Exception as error:
            print(type(error).__name__)
    print(socket.getaddrinfo("localhost", 80, socket.AF_INET)[0][4][0])
    print(hasattr(socket.getaddrinfo, "keeps_names_here"))

asyncio.run(main())
uvloop.run(main())
"""
#: Who says in Node that a name has no address: the system, or what stands in for it.
FETCH = """
fetch("http://by-node.example.com/").catch((error) => console.log(error.cause.syscall));
"""


def test_no_name_has_an_address_here() -> None:
    for look_up in (socket.gethostbyname, socket.gethostbyname_ex):
        with pytest.raises(socket.gaierror):
            look_up("example.com")
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("example.com", 443)


def test_addresses_and_localhost_are_read_without_a_question() -> None:
    for host in ("127.0.0.1", "127.1", "localhost"):
        assert socket.getaddrinfo(host, 80, socket.AF_INET)[0][4] == ("127.0.0.1", 80)
    with httpx.Client(trust_env=False) as http, pytest.raises(httpx.ConnectError):
        http.get("http://example.com/")


@pytest.mark.anyio
async def test_cares_asks_the_tests_own_server(no_names: NoNames) -> None:
    client = FastClient.trusted()
    with pytest.raises(NotSent):
        await client.send(Request(method="GET", url="http://by-fast.example.com/"))
    await client.close()

    assert "by-fast.example.com" in no_names.asked


@pytest.mark.anyio
async def test_a_name_server_elsewhere_is_refused() -> None:
    with pytest.raises(AssertionError, match="elsewhere"):
        aiodns.DNSResolver(nameservers=["192.0.2.53"])


@pytest.mark.parametrize(
    ("environment", "name"),
    [(None, "by-cares.example.com"), ({}, "with-an-environment-of-its-own.example.com")],
    ids=["inherited", "of its own"],
)
def test_a_child_process_asks_the_same_server(
    no_names: NoNames, environment: dict[str, str] | None, name: str
) -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, name],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    of_each_loop = ["gaierror"] * 4 + ["DNSError", "127.0.0.1", "True"]
    assert told.stdout.split() == of_each_loop * 2
    assert name in no_names.asked


@pytest.mark.anyio
async def test_a_program_in_javascript_finds_no_name(no_names: NoNames) -> None:
    process = await asyncio.create_subprocess_exec(
        *(str(node()), "--eval", FETCH), stdout=asyncio.subprocess.PIPE, env={"PATH": os.defpath}
    )
    async with asyncio.timeout(60):
        told, _ = await process.communicate()

    assert told.decode().split() == ["tests"]
    assert "by-node.example.com" not in no_names.asked
