"""An operator chooses who looks up the hosts that users choose."""

import pytest

from settings import SettingsError, load
from tests.integration.conftest import MakeEngine
from tests.unit.transport.name_server import name_server
from transport.base import NotSent, Request


@pytest.mark.anyio
async def test_hosts_of_users_are_looked_up_where_the_operator_says(
    make_engine: MakeEngine,
) -> None:
    async with name_server({"inside.example": "127.0.0.1"}) as server:
        engine = make_engine(LONGTAKE_NAME_SERVERS=f"127.0.0.9:9,{server.address}")
        with pytest.raises(NotSent):  # nobody listens at the address, but there is one
            await engine.guarded.send(Request(method="GET", url="http://inside.example:9/"))
        await engine.close()

    assert "inside.example" in server.asked


@pytest.mark.parametrize(
    "servers", ["10.0.0.2", "127.0.0.1:5353,10.0.0.2", "::1", "[::1]:5353", " 10.0.0.2 , ::1 "]
)
def test_name_servers_are_addresses_with_or_without_a_port(servers: str) -> None:
    known = load({"LONGTAKE_NAME_SERVERS": servers}).name_servers
    assert list(known) == [each.strip() for each in servers.split(",")]


@pytest.mark.parametrize(
    "servers",
    ["dns.example", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "[::1", "1.2.3", "::1:x"],
)
def test_what_is_no_address_of_a_name_server_is_refused_by_its_name(servers: str) -> None:
    with pytest.raises(SettingsError, match="LONGTAKE_NAME_SERVERS: each must be an IP address"):
        load({"LONGTAKE_NAME_SERVERS": servers})
