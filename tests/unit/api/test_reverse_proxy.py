"""The nginx configuration of docs/reverse-proxy.md matches the API's sizes and timeouts."""

import re
from pathlib import Path

from api.body import MAX_BODY
from api.streams import PING_EVERY
from models.batch import MAX_BATCH_BYTES
from settings import load

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reverse-proxy.md").read_text()
NGINX = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)[0]


def told(name: str, *, of: str = NGINX) -> str:
    found = re.findall(rf"\b{name}\s+(\S+?);", of)
    assert len(found) >= 1, name
    return str(found[0])


def location(path: str) -> str:
    (found,) = re.findall(rf"location = {re.escape(path)} {{(.*?)}}", NGINX)
    return str(found)


def test_it_lets_through_the_bodies_that_the_api_takes() -> None:
    batches = location("/v1/batches")

    assert told("client_max_body_size") == f"{MAX_BODY // 2**20}m"
    assert told("client_max_body_size", of=batches) == f"{MAX_BATCH_BYTES // 2**20}m"


def test_it_waits_for_as_long_as_the_api_is_silent_and_no_longer_than_it_listens() -> None:
    settings = load({})
    layer = location("/layer/v3/video")

    assert float(told("proxy_read_timeout").rstrip("s")) > PING_EVERY
    assert float(told("proxy_read_timeout", of=layer).rstrip("s")) > settings.layer_headers_seconds
    assert float(told("keepalive_timeout").rstrip("s")) < 75
    assert told("client_header_timeout") == f"{settings.header_seconds:.0f}s"
    assert told("client_body_timeout") == f"{settings.body_seconds:.0f}s"


def test_it_buffers_no_stream_and_tells_the_clients_address() -> None:
    (streams,) = re.findall(r"location ~ (\S+) {.*proxy_buffering off;.*}", NGINX)
    for path in ("/v1/video/generations/x/events", "/v1/batches/x/events"):
        assert re.search(streams, path)
    assert "proxy_buffering off" in location("/layer/v3/video")
    assert re.search(r"proxy_set_header\s+X-Forwarded-For \$remote_addr;", NGINX)
    assert re.search(r"proxy_set_header\s+X-Forwarded-Proto \$scheme;", NGINX)
