"""What holds for every provider, whatever its vendor documents: ids, links, sizes, verbs."""

import asyncio
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Thread

import pytest

from models.scene import Scene
from providers.base import Account, Ask, LookUp, NotOffered, Update, Video
from providers.exchange import converse, request_for
from providers.registry import PROVIDERS
from transport.base import BadAnswer
from transport.fast import FastClient

ALL = pytest.mark.parametrize("name", PROVIDERS)
POLLED = pytest.mark.parametrize(
    "name", [name for name, one in PROVIDERS.items() if not one.capabilities.synchronous]
)

#: What stands around the part of an operation's id that is in the address.
AROUND = {
    "kling_legacy": ("text2video/", ""),
    "aimlapi_legacy": ("runway/", ""),
    "gemini_veo": ("models/m/operations/", ""),
    "veo": ("projects/p/locations/l/publishers/google/models/", "/operations/1"),
}
#: What the address goes on with behind that part.
TAILS = ("/status?logs=false", "?stream=false", ":fetchPredictOperation")
LINK = "https://cdn.example.com/v.mp4?sig=a%2Bb&x=%7e"
ASK = Ask(
    attempt_id="a1",
    marker="m1",
    upstream="m",
    scene=Scene(prompt="a lighthouse keeper sings to the storm"),
    duration_seconds=5,
    resolution="720p",
    aspect_ratio="16:9",
    width=1280,
    height=720,
)


def account(name: str, base_url: str) -> Account:
    credentials = dict.fromkeys(PROVIDERS[name].credentials[0], "key_0123456789")
    return Account(name=name, provider=name, base_url=base_url, credentials=credentials)


@POLLED
def test_an_odd_id_stays_one_segment_or_one_parameter_of_the_address(name: str) -> None:
    before, after = AROUND.get(name, ("", ""))
    call = next(PROVIDERS[name].poll([f"{before}a/../b?c#d e{after}"]))
    odd = ("/a%2F..%2Fb%3Fc%23d%20e", "=a%2F..%2Fb%3Fc%23d+e")
    ending = next((tail for tail in TAILS if call.target.endswith(tail)), "")
    assert call.target.removesuffix(ending).endswith(odd)


@ALL
def test_only_the_submit_is_paid(name: str) -> None:
    provider = PROVIDERS[name]
    assert next(provider.submit(ASK)).paid
    assert not any(call.paid for call in islice(provider.poll(["1"]), 1))
    assert not provider.fetch(Video(url=LINK)).paid


@ALL
def test_a_result_is_fetched_byte_for_byte_and_without_our_key(name: str) -> None:
    # Given a link to another host than the API's
    provider = PROVIDERS[name]
    call = provider.fetch(Video(url=LINK))
    # When it is dressed for sending
    request = request_for(
        call, provider=provider, account=account(name, provider.default_base), now=0.0
    )
    # Then the signature is untouched and no credential goes along
    assert request.url == LINK
    assert request.headers == {"accept": "*/*"}


@ALL
def test_a_verb_that_the_capabilities_rule_out_says_so(name: str) -> None:
    provider = PROVIDERS[name]
    if not set(provider.capabilities.look_up) & {LookUp.EXTERNAL_ID, LookUp.LIST}:
        with pytest.raises(NotOffered, match="look-up"):
            provider.look_up(ASK)
    if not provider.capabilities.cancel:
        with pytest.raises(NotOffered, match="cancel"):
            provider.cancel("1")


class Huge(BaseHTTPRequestHandler):
    """Answers with far more than any status of an operation needs."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(16):
                self.wfile.write(b"x" * 2**20)
        except ConnectionError:
            return  # the client has had enough, as it should

    do_POST = do_GET  # noqa: N815 - the base class's name

    def log_message(self, *_: object) -> None:
        """Silent."""


@POLLED
def test_a_huge_answer_is_a_bad_answer(name: str) -> None:
    # Given a vendor that answers with more than a poll allows
    with ThreadingHTTPServer(("127.0.0.1", 0), Huge) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            # Then the poll neither crashes nor swallows it
            with pytest.raises(BadAnswer):
                asyncio.run(poll(name, f"http://127.0.0.1:{server.server_port}"))
        finally:
            server.shutdown()
            thread.join(timeout=10)


async def poll(name: str, base_url: str) -> Mapping[str, Update]:
    client = FastClient.trusted()
    try:
        return await converse(
            PROVIDERS[name].poll(["1"]),
            provider=PROVIDERS[name],
            account=account(name, base_url),
            client=client,
            now=1_800_000_000.0,
        )
    finally:
        await client.close()
