"""verify: what our server signs passes, everything else raises the one error."""

import base64
import subprocess
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from longtake import LongtakeError, WebhookVerificationError, verify
from webhooks import signing
from webhooks.events import EventType, render

ROOT = Path(__file__).parents[3]
SECRET = "a shared secret, in plain words"
WHSEC = "whsec_" + base64.b64encode(SECRET.encode()).decode()
AT = datetime(2026, 11, 22, 1, 2, 3, tzinfo=UTC)
BODY = render(EventType.VIDEO_COMPLETED, AT, {"id": "job_vid_1", "status": "complete", "x": "星"})
ID = "evt_01"
#: Stands for headers that are right at the moment of the call.
RIGHT: Any = object()


def signed(
    body: bytes = BODY, *, secret: str = SECRET, age: float = 0, message_id: str = ID
) -> dict[str, str]:
    at = int(time.time() - age)
    return signing.headers(secret, message_id=message_id, timestamp=at, body=body)


def refuses(
    body: Any = BODY, headers: Any = RIGHT, secret: Any = SECRET, tolerance: Any = 300
) -> str:
    """The message of the one error that may be raised."""
    with pytest.raises(LongtakeError) as raised:
        verify(body, signed() if headers is RIGHT else headers, secret, tolerance)
    assert type(raised.value) is WebhookVerificationError
    assert SECRET not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize("sent", [SECRET, WHSEC], ids=["text", "whsec"])
@pytest.mark.parametrize("given", [SECRET, WHSEC, ["another one", SECRET], (WHSEC, "old")], ids=str)
def test_what_our_server_signs_is_a_typed_event(sent: str, given: str | list[str]) -> None:
    event = verify(BODY, signed(secret=sent), given)

    assert (event.type, event.id, event.timestamp) == ("video.completed", ID, AT)
    assert event.data["x"] == "星"
    assert event.job.id == "job_vid_1"
    assert "job_vid_1" not in repr(event)


def test_the_published_packages_agree() -> None:
    headers = signed()
    for judge in (standardwebhooks.Webhook(WHSEC), svix.webhooks.Webhook(WHSEC)):
        judge.verify(BODY.decode(), headers)
    # And what they sign, ours takes.
    theirs = standardwebhooks.Webhook(WHSEC).sign(ID, datetime.now(UTC), BODY.decode())
    assert verify(BODY, signed() | {"webhook-signature": theirs}, SECRET).id == ID


def wsgi(headers: Mapping[str, str]) -> dict[str, str]:
    return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()}


def message(headers: Mapping[str, str]) -> Message:
    made = Message()
    for name, value in headers.items():
        made[name] = value
    return made


class OnlyGet:
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def get(self, name: str) -> str | None:
        return self._headers.get(name)


SHAPES: list[Callable[[Mapping[str, str]], Any]] = [
    dict,
    lambda headers: {name.title(): value for name, value in headers.items()},
    lambda headers: [(name.encode(), value.encode()) for name, value in headers.items()],
    lambda headers: iter([(name.upper(), value) for name, value in headers.items()]),
    wsgi,
    lambda headers: wsgi(headers) | {"wsgi.version": "1", "HTTP_HOST": "a"},
    lambda headers: wsgi(headers) | {"wsgi.version": (1, 0), "wsgi.input": object()},
    message,
    OnlyGet,
    httpx.Headers,
    Headers,
]


@pytest.mark.parametrize("shape", SHAPES, ids=range(len(SHAPES)))
def test_headers_come_in_the_shapes_of_the_frameworks(
    shape: Callable[[Mapping[str, str]], Any],
) -> None:
    others = {"Host": "a.test", "Content-Type": "application/json"}

    assert verify(BODY, shape(others | signed()), SECRET).id == ID


@pytest.mark.parametrize("body", [bytearray(BODY), memoryview(BODY)], ids=["bytearray", "view"])
def test_a_body_may_be_any_bytes(body: Any) -> None:
    assert verify(body, signed(), SECRET).id == ID


def test_one_good_signature_among_several_is_enough() -> None:
    headers = signed()
    old = signed(secret="the old secret")["webhook-signature"]
    headers["webhook-signature"] = f"v1a,abc v1 v2,x {old} {headers['webhook-signature']} v1,"

    assert verify(BODY, headers, SECRET).id == ID
    assert verify(BODY, headers, ["the old secret", "a new one"]).id == ID


@pytest.mark.parametrize(("age", "tolerance"), [(290, 300), (-290, 300), (3000, 3600), (5, 10.5)])
def test_a_webhook_is_fresh_within_the_tolerance(age: float, tolerance: float) -> None:
    assert verify(BODY, signed(age=age), SECRET, tolerance).id == ID


@pytest.mark.parametrize(("age", "said"), [(302, "old"), (-302, "future"), (86_400 * 365, "old")])
def test_a_replayed_or_early_webhook_is_refused(age: float, said: str) -> None:
    assert said in refuses(headers=signed(age=age))


def test_a_tampered_body_id_or_time_is_refused() -> None:
    refuses(BODY + b" ")
    refuses(BODY.replace(b"complete", b"failed__"))
    refuses(headers=signed() | {"webhook-id": "evt_02"})
    later = str(int(time.time()) + 60)
    refuses(headers=signed() | {"webhook-timestamp": later})


def test_a_webhook_signed_anew_by_somebody_else_is_refused() -> None:
    refuses(headers=signed(secret="whoever"))
    refuses(headers=signed(secret=WHSEC.removeprefix("whsec_")))
    refuses(secret=[])
    refuses(secret=["one", "two"])


GOOD = signed()["webhook-signature"]
BAD_SIGNATURES = [
    *("", " ", "v1", "v1,", "v1,====", "v1,a,b", ",,", "v1;" + "a" * 44, "garbage"),
    *("v1," + "A" * 44, "v1," + "A" * 43 + "=", "v1," + "A" * 4096, "v1,ä", "v1,\udcff", "v1,\0"),
    *("v2", "V1", "v1a", "v1 ", "v1\t"),
]


@pytest.mark.parametrize("bad", BAD_SIGNATURES, ids=ascii)
def test_a_malformed_signature_is_refused(bad: str) -> None:
    refuses(headers=signed() | {"webhook-signature": bad})


@pytest.mark.parametrize("change", ["V1,", "v1a,", "v2,", "v1, ", "v1,,", ""])
def test_a_signature_of_another_version_is_refused(change: str) -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", change)
    refuses(headers=headers)


@pytest.mark.parametrize("cut", [1, 2, 10, 43])
def test_a_signature_of_another_length_is_refused(cut: int) -> None:
    headers = signed()
    refuses(headers=headers | {"webhook-signature": headers["webhook-signature"][:-cut]})
    refuses(headers=headers | {"webhook-signature": headers["webhook-signature"] + "=" * cut})


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "now",
        "1e9",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1_0",
        "٣",
        "1.5",
        "0x1",
        "9" * 13,
        "9" * 5000,
        "\0",
    ],
    ids=lambda bad: ascii(bad[:20]),
)
def test_a_malformed_time_is_refused(bad: str) -> None:
    assert "webhook-timestamp" in refuses(headers=signed() | {"webhook-timestamp": bad})


@pytest.mark.parametrize("bad", ["", "a.b", "a b", "é", "\udcff", "a" * 300, "a\n"], ids=ascii)
def test_a_malformed_id_is_refused(bad: str) -> None:
    assert "webhook-id" in refuses(headers=signed() | {"webhook-id": bad})


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_header_is_there_exactly_once(name: str) -> None:
    headers = signed()
    without = {other: value for other, value in headers.items() if other != name}
    twice = [*headers.items(), (name.title(), headers[name])]

    assert f"{name} is missing" in refuses(headers=without)
    assert f"{name} is there more than once" in refuses(headers=twice)
    refuses(headers=headers | {name.upper(): headers[name]})


class Hostile:
    def items(self) -> Any:
        raise ZeroDivisionError


HEADERS: Mapping[str, Any] = {
    "int": 7,
    "text": "text",
    "bytes": b"bytes",
    "none there": [],
    "object": object(),
    "a type": dict,
    "a function": wsgi,
    "raises": Hostile(),
    "no pair": [1],
    "a pair of one": [("a",)],
    "a pair of three": [("a", "b", "c")],
    "a name of another type": {1: 2},
    "no name": {None: "a"},
    "a tuple as name": {("a", "b"): "c"},
    "a name that is no UTF-8": [(b"\xff", b"x")],
    "a value that is no UTF-8": [(b"webhook-id", b"\xff")],
    "a list as value": {"webhook-id": ["a"]},
    "a number as value": {"webhook-timestamp": 1_790_000_000},
}


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
def test_headers_of_another_kind_are_refused(headers: Any) -> None:
    refuses(headers=headers)


@pytest.mark.parametrize(
    "secret", ["", None, 7, b"bytes", "whsec_", "whsec_a", "whsec_é", "\udcff"], ids=ascii
)
def test_a_secret_that_is_none_is_refused(secret: Any) -> None:
    refuses(secret=secret)
    refuses(secret=[secret])
    refuses(secret=[SECRET, secret])


@pytest.mark.parametrize("tolerance", [None, "300", True, -1, float("nan"), [300]], ids=ascii)
def test_a_tolerance_that_is_no_time_is_refused(tolerance: Any) -> None:
    refuses(tolerance=tolerance)


EVENT = b'{"type":"a","timestamp":"2026-11-22T01:02:03Z","data":{}}'
BODIES = [
    *(b"", b"\xff\xfe", b"\xef\xbb\xbf" + EVENT, b"{", b"[]", b"7", b"null", b'"a"', b"{}"),
    *(b"[" * 100_000, b'{"a":' * 100_000, b"1" * 5000, EVENT.replace(b"{}", b"[]")),
    *(EVENT.replace(b'"a"', b"7"), EVENT.replace(b"T01:02:03Z", b"T01:02:03"), EVENT + b"x"),
    *(EVENT.replace(b'"2026-11-22T01:02:03Z"', b"7"), EVENT.replace(b"2026", b"x")),
    EVENT.replace(b'"timestamp"', b'"time"'),
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: ascii(body[:30]) + str(len(body)))
def test_a_signed_body_that_is_no_event_is_refused(body: bytes) -> None:
    assert "the body is signed" in refuses(body, signed(body))


@pytest.mark.parametrize("body", [None, BODY.decode(), 7, [BODY], {"a": 1}], ids=ascii)
def test_a_body_that_is_no_bytes_is_refused(body: Any) -> None:
    assert "payload" in refuses(body)


values = st.one_of(st.text(), st.binary(), st.none(), st.integers(), st.lists(st.text()))
names = st.one_of(values, st.sampled_from([*signed(), *wsgi(signed()), "Webhook-Id"]))


@given(
    body=st.one_of(st.binary(), st.just(BODY), values),
    headers=st.one_of(
        st.lists(st.tuples(names, values)),
        st.dictionaries(st.one_of(st.text(), st.sampled_from([*signed()])), values),
        values,
    ),
    secret=st.one_of(values, st.just(SECRET)),
    tolerance=st.one_of(st.just(300), st.floats(), values),
)
def test_nothing_else_is_ever_raised(body: Any, headers: Any, secret: Any, tolerance: Any) -> None:
    refuses(body, headers, secret, tolerance)


@given(
    name=st.sampled_from([*signed()]),
    value=st.one_of(st.text(), st.binary(), st.text(st.characters(codec="ascii"))),
)
def test_one_header_that_is_anything_raises_nothing_else(name: str, value: str | bytes) -> None:
    headers: Any = list((signed() | {name: value}).items())
    if value not in {signed()[name], signed()[name].encode()}:
        refuses(headers=headers)


@given(body=st.binary(), other=st.binary())
def test_no_other_body_has_the_signature(body: bytes, other: bytes) -> None:
    if body != other:
        assert "no webhook-signature matches" in refuses(other, signed(body))


@pytest.mark.parametrize("secret", [SECRET, WHSEC], ids=["text", "whsec"])
def test_the_line_of_the_page_verifies_with_openssl_alone(tmp_path: Path, secret: str) -> None:
    page = (ROOT / "client/README.md").read_text()
    (block,) = (part.partition("```")[0] for part in page.split("```sh\n")[1:] if "openssl" in part)
    (tmp_path / "body.json").write_bytes(BODY)
    headers = signed(secret=secret)
    given = {
        "id": headers["webhook-id"],
        "timestamp": headers["webhook-timestamp"],
        "signature": headers["webhook-signature"],
        "secret": secret,
    }

    def ended(**changed: str) -> int:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],  # noqa: S607 - the shell of this machine
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin"} | given | changed,
            timeout=60,
            check=False,
        ).returncode

    assert ended() == 0
    assert ended(signature="v1a,abc " + given["signature"]) == 0
    assert ended(id="evt_02") != 0
    assert ended(secret="another one") != 0
    (tmp_path / "body.json").write_bytes(BODY + b" ")
    assert ended() != 0


class _Hostile(str):
    __slots__ = ()

    def startswith(self, *_: Any) -> bool:
        raise ZeroDivisionError


def _released() -> memoryview:
    view = memoryview(BODY)
    view.release()
    return view


@pytest.mark.parametrize(
    ("payload", "secret"), [(_released(), SECRET), (BODY, _Hostile(SECRET))], ids=["view", "secret"]
)
def test_hostile_arguments_raise_the_one_error(payload: Any, secret: Any) -> None:
    with pytest.raises(WebhookVerificationError):
        verify(payload, signed(), secret)
