"""Callbacks: the vendor's test vector holds, and nothing else does."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from providers.callbacks import BadCallbackSecret, is_signed
from providers.registry import PROVIDERS

#: kling.ai/document-api/api/get-started/callbacks, the vector that the vendor prints.
SECRET = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
BODY = (
    b'{"id":"1234567890","status":"succeeded","message":"",'
    b'"create_time":1781080778802,"update_time":1781080794151}'
)
AT = 1781080794
HEADERS = {
    "webhook-id": "9876543210",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4=",
}
KLINGS = pytest.mark.parametrize("name", ["kling", "kling_legacy"])


@KLINGS
def test_klings_test_vector_is_genuine(name: str) -> None:
    provider = PROVIDERS[name]
    assert provider.callback_secret == "KLING_WEBHOOK_SECRET"
    assert provider.callback_is_genuine(HEADERS, BODY, secret=SECRET, now=AT)
    shouted = {key.title(): value for key, value in HEADERS.items()}
    assert provider.callback_is_genuine(shouted, BODY, secret=SECRET, now=AT + 299)


@KLINGS
def test_without_a_secret_klings_callbacks_carry_no_signature(name: str) -> None:
    assert PROVIDERS[name].callback_is_genuine({}, BODY, secret=None, now=AT)


def test_one_of_several_signatures_is_enough_while_a_secret_is_rotated() -> None:
    both = HEADERS | {"webhook-signature": f"v1,AAAA {HEADERS['webhook-signature']} v2,x"}
    assert is_signed(both, BODY, secret=SECRET, now=AT)


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "9876543211"},
        {"webhook-id": ""},
        {"webhook-timestamp": str(AT + 1)},
        {"webhook-timestamp": "1e9"},
        {"webhook-timestamp": "١٧٨١٠٨٠٧٩٤"},
        {"webhook-timestamp": "-1"},
        {"webhook-signature": ""},
        {"webhook-signature": HEADERS["webhook-signature"].removeprefix("v1,")},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1a" + HEADERS["webhook-signature"]},
    ],
)
def test_a_changed_header_is_not_genuine(changed: dict[str, str]) -> None:
    assert not is_signed(HEADERS | changed, BODY, secret=SECRET, now=AT)


def test_a_changed_body_an_old_callback_and_no_headers_are_not_genuine() -> None:
    assert not is_signed(HEADERS, BODY + b" ", secret=SECRET, now=AT)
    assert not is_signed(HEADERS, BODY, secret=SECRET, now=AT + 301)
    assert not is_signed(HEADERS, BODY, secret=SECRET, now=AT - 301)
    assert not is_signed({}, BODY, secret=SECRET, now=AT)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_not base64!", "whsec_abc"])
def test_a_secret_that_is_none_is_told_to_the_operator_without_repeating_it(secret: str) -> None:
    with pytest.raises(BadCallbackSecret) as caught:
        is_signed(HEADERS, BODY, secret=secret, now=AT)
    assert "base64" in str(caught.value)
    assert "not base64!" not in str(caught.value)


@given(body=st.text(), headers=st.dictionaries(st.text(), st.text()))
def test_strangers_are_never_an_error(body: str, headers: dict[str, str]) -> None:
    content = body.encode(errors="replace")
    assert not is_signed(HEADERS | headers, content, secret=SECRET, now=0)
    for provider in PROVIDERS.values():
        provider.callback_operation(content)


@given(st.binary(min_size=24, max_size=64), st.text(st.characters(codec="utf-8")))
def test_what_the_standard_library_signs_is_genuine(key: bytes, body: str) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    now = 1_800_000_000
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now)}
    moment = datetime.fromtimestamp(now, tz=UTC)
    headers["webhook-signature"] = Webhook(secret).sign("msg_1", moment, body)
    assert is_signed(headers, body.encode(), secret=secret, now=now)


@pytest.mark.parametrize(
    ("name", "body", "operation"),
    [
        ("kling", BODY, "1234567890"),
        ("kling", b'{"id": 7}', None),
        ("kling", b"[]", None),
        ("kling", b"{", None),
        ("kling", b"\xff", None),
        # The older kind does not say which of its two addresses the task is found at.
        ("kling_legacy", b'{"task_id": "1", "task_status": "succeed"}', None),
        ("luma_dream_machine", b'{"id": "g1", "state": "dreaming"}', "g1"),
        ("luma_dream_machine", b'{"state": "dreaming"}', None),
        ("luma_dream_machine", b"[" * 100_000, None),
        ("runway", b'{"id": "t1"}', None),
    ],
)
def test_a_callback_names_its_operation_where_it_can(
    name: str, body: bytes, operation: str | None
) -> None:
    assert PROVIDERS[name].callback_operation(body) == operation
