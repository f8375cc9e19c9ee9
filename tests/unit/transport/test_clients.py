"""What both clients promise of every request: the bytes that go out, and what is not kept."""

import asyncio
import gzip
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.transport.raw_server import RawServer
from transport.base import BadAnswer, Client, NotSent, Part, Request, Sender
from transport.exact import ExactClient
from transport.fast import FastClient
from transport.getter import Getter

CLIENTS = pytest.mark.parametrize(
    "make", [ExactClient, FastClient.trusted, Getter], ids=["exact", "fast", "getter"]
)


def lines(request: bytes) -> list[str]:
    return request.partition(b"\r\n\r\n")[0].decode().split("\r\n")


def header(request: bytes, name: str) -> list[str]:
    pairs = (line.partition(": ") for line in lines(request)[1:])
    return [value for key, _, value in pairs if key.lower() == name]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("path", "sent"),
    [
        ("/file?sig=a%2Bb%2Fc&x=%7e", "/file?sig=a%2Bb%2Fc&x=%7e"),
        ("/a%2fb/../%41;v=1?q=a+b&&e=&'()[]|", "/a%2fb/../%41;v=1?q=a+b&&e=&'()[]|"),
        ("/%E2%82%AC/%2F", "/%E2%82%AC/%2F"),
        ("?only=query", "/?only=query"),
        ("", "/"),
        ("/kept#dropped", "/kept"),
        ("/straße?q=ü", "/stra%C3%9Fe?q=%C3%BC"),
    ],
)
async def test_an_address_is_sent_byte_for_byte(
    getter: Sender, server: RawServer, path: str, sent: str
) -> None:
    await getter.send(Request(method="GET", url=server.url(path)))

    assert lines(server.requests[0])[0] == f"GET {sent} HTTP/1.1"
    assert header(server.requests[0], "host") == [f"127.0.0.1:{server.port}"]


@pytest.mark.anyio
async def test_a_body_and_its_headers_are_sent_as_given(client: Client, server: RawServer) -> None:
    body = '{"prompt":"a cät"}'.encode()

    await client.send(
        Request(
            method="POST",
            url=server.url(),
            headers={"Authorization": "Key id:secret", "Content-Type": "application/json"},
            content=body,
        )
    )

    (request,) = server.requests
    assert request.endswith(b"\r\n\r\n" + body)
    assert header(request, "authorization") == ["Key id:secret"]
    assert header(request, "content-type") == ["application/json"]
    assert header(request, "content-length") == [str(len(body))]
    assert header(request, "user-agent") == ["longtake"]


@pytest.mark.anyio
async def test_a_request_without_a_body_claims_no_content_type(
    client: Client, server: RawServer
) -> None:
    await client.send(Request(method="POST", url=server.url("/cancel")))

    assert header(server.requests[0], "content-type") == []
    assert header(server.requests[0], "content-length") == ["0"]


@pytest.mark.anyio
async def test_a_form_is_encoded_alike_by_both(client: Client, server: RawServer) -> None:
    parts = (
        Part(name="prompt", content="a cät".encode()),
        Part(
            name='in"put', content=b"\x89PNG\r\n", filename="a\r\nb.png", content_type="image/png"
        ),
    )

    await client.send(Request(method="POST", url=server.url(), form=parts))

    (request,) = server.requests
    (content_type,) = header(request, "content-type")
    boundary = content_type.removeprefix("multipart/form-data; boundary=").encode()
    assert request.partition(b"\r\n\r\n")[2] == (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
        b"a c\xc3\xa4t\r\n"
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="in%22put"; '
        b'filename="a%0D%0Ab.png"\r\nContent-Type: image/png\r\n\r\n'
        b"\x89PNG\r\n\r\n"
        b"--" + boundary + b"--\r\n"
    )


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "http:///path",
        "http://user:password@127.0.0.1/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/a\r\nX-Injected: 1",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:port/",
        "http://[::1/",
        "http://a..b/",
        f"http://{'a' * 64}.example/",
        "http://127.0.0.1\\@example.com/",
        "not an address",
    ],
)
async def test_what_is_no_address_is_not_sent(getter: Sender, url: str) -> None:
    with pytest.raises(NotSent) as told:
        await getter.send(Request(method="GET", url=url))

    assert "password" not in str(told.value)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [{"authorization": "Bearer s3cret\n"}, {"x": "a\r\nb: c"}, {"x": "ü"}, {"a b": "c"}],
)
async def test_a_header_that_http_does_not_allow_is_not_sent(
    client: Client, server: RawServer, headers: dict[str, str]
) -> None:
    with pytest.raises(NotSent) as told:
        await client.send(Request(method="POST", url=server.url(), headers=headers))

    assert server.connections == 0
    assert "s3cret" not in str(told.value)


@pytest.mark.anyio
async def test_an_answer_has_its_header_names_in_lower_case(
    getter: Sender, server: RawServer
) -> None:
    server.behave = server.answer(
        b"[1]", status="429 Too Many", headers="Retry-AFTER: 7\r\nX-A: 1\r\nX-A: 2\r\n"
    )

    answer = await getter.send(Request(method="GET", url=server.url()))

    assert answer.status == 429
    assert not answer.is_success
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["x-a"] == "1, 2"
    assert answer.json() == [1]


@pytest.mark.anyio
async def test_a_header_in_no_known_encoding_still_is_text(
    getter: Sender, server: RawServer
) -> None:
    # Given a header whose bytes are not UTF-8
    server.behave = server.say(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-Name: caf\xe9\r\n\r\n", then_close=False
    )

    answer = await getter.send(Request(method="GET", url=server.url()))

    # Then it can be stored and printed
    assert answer.headers["x-name"] == "café"


@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_like_any_other(
    client: Client, server: RawServer, status: int
) -> None:
    server.behave = server.answer(
        status=f"{status} X", headers=f"Location: {server.url('/to')}\r\n"
    )

    answer = await client.send(Request(method="POST", url=server.url("/from"), content=b"{}"))

    assert answer.status == status
    assert len(server.requests) == 1


@pytest.mark.anyio
async def test_cookies_are_not_kept(getter: Sender, server: RawServer) -> None:
    server.behave = server.answer(headers="Set-Cookie: tenant=a; Path=/\r\n")

    for _ in range(2):  # by name, for aiohttp's own jar takes nothing from bare addresses
        await getter.send(Request(method="GET", url=server.url(host="localhost")))

    assert [header(request, "cookie") for request in server.requests] == [[], []]


@pytest.mark.anyio
async def test_proxies_and_passwords_of_the_environment_are_ignored(
    getter: Sender,
    server: RawServer,
    closed_port: int,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Given an environment that sends everything elsewhere, with a password
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))

    # When a request is sent
    answer = await getter.send(Request(method="GET", url=server.url()))

    # Then it arrives, and without it
    assert answer.is_success
    assert header(server.requests[0], "authorization") == []


@pytest.mark.anyio
async def test_a_packed_answer_is_unpacked_and_still_capped(
    getter: Sender, server: RawServer
) -> None:
    # Given a server that packs although it was not asked to
    server.behave = server.answer(
        gzip.compress(b"x" * 50_000), headers="Content-Encoding: gzip\r\n"
    )
    request = Request(method="GET", url=server.url())

    assert (await getter.send(request)).content == b"x" * 50_000
    with pytest.raises(BadAnswer):
        await getter.send(Request(method="GET", url=server.url(), max_bytes=40_000))


@pytest.mark.anyio
async def test_an_answer_of_exactly_the_allowed_size_is_taken(
    getter: Sender, server: RawServer
) -> None:
    server.behave = server.answer(b"x" * 100)

    answer = await getter.send(Request(method="GET", url=server.url(), max_bytes=100))

    assert len(answer.content) == 100


@pytest.mark.anyio
async def test_a_stream_gives_what_has_come_before_the_end(
    client: Client, server: RawServer
) -> None:
    # Given half an answer
    server.behave = server.say(
        b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nContent-Type: video/mp4\r\n\r\nhalf",
        then_close=False,
    )

    # When it is streamed
    request = Request(method="GET", url=server.url(), read_timeout=0.1)
    async with asyncio.timeout(10), client.stream(request) as answer:
        chunks = answer.chunks()
        first = await anext(chunks)
        with pytest.raises(BadAnswer, match="response body stalled"):
            await anext(chunks)

    # Then the half is there, and the connection is given up
    assert (answer.status, answer.headers["content-type"]) == (200, "video/mp4")
    assert first == b"half"
    await server.is_left()


@pytest.mark.anyio
async def test_the_time_that_a_reader_takes_is_not_the_far_sides(
    client: Client, server: RawServer
) -> None:
    # Given an answer that is there at once, and a limit on silence
    server.behave = server.answer(b"x" * 10)
    request = Request(method="GET", url=server.url(), read_timeout=0.05)

    # When its reader does something else for longer
    async with client.stream(request) as answer:
        await asyncio.sleep(0.1)  # its own work
        content = b"".join([piece async for piece in answer.chunks()])

    assert content == b"x" * 10


@pytest.mark.anyio
async def test_no_message_holds_a_query_or_a_header(client: Client, server: RawServer) -> None:
    server.behave = server.drop()
    request = Request(
        method="POST",
        url=server.url("/v1/videos?sig=s3cret"),
        headers={"authorization": "Bearer s3cret-key"},
        content=b"s3cret prompt",
    )

    with pytest.raises(Exception, match="POST http://127") as told:
        await client.send(request)

    assert "s3cret" not in str(told.value)
    assert told.value.__suppress_context__  # nor does its traceback print the library's error


@CLIENTS
def test_making_a_client_opens_nothing(make: Callable[[], Sender]) -> None:
    def held() -> tuple[int, int]:
        return len(list(Path("/proc/self/fd").iterdir())), threading.active_count()

    before = held()
    clients = [make() for _ in range(3)]

    assert held() == before
    assert len(clients) == 3


@CLIENTS
def test_one_client_serves_one_loop_after_another(make: Callable[[], Sender]) -> None:
    # Given a client that has been used in a loop that is gone
    client = make()

    async def use() -> int:
        server = RawServer()
        await server.open()
        answer = await client.send(Request(method="GET", url=server.url()))
        await client.close()
        await server.close()
        return answer.status

    # Then it can be used in the next
    assert [asyncio.run(use()) for _ in range(2)] == [200, 200]
