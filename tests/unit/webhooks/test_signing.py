"""Signing: what the published packages accept, and what no receiver may accept."""

import base64
from datetime import UTC, datetime

import pytest
import standardwebhooks
import svix.webhooks
from hypothesis import given
from hypothesis import strategies as st

from webhooks import signing
from webhooks.signing import BadSecret, secret_bytes, verify

ID = "evt_01"
SECRET = "a shared secret, in plain words"
BODY = b'{"type":"video.completed","data":{"prompt":"\xe6\x98\x9f"}}'
NOW = 1_790_000_000

ids = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="."), min_size=1
)
secrets = st.text(min_size=1).filter(lambda text: not text.startswith("whsec_"))
times = st.integers(min_value=0, max_value=10**11)


def signed(*, secret: str = SECRET, at: int = NOW, body: bytes = BODY) -> dict[str, str]:
    return signing.headers(secret, message_id=ID, timestamp=at, body=body)


def as_whsec(secret: str) -> str:
    return "whsec_" + base64.b64encode(secret.encode()).decode()


JUDGES = [
    pytest.param(
        standardwebhooks.Webhook, standardwebhooks.WebhookVerificationError, id="standard"
    ),
    pytest.param(svix.webhooks.Webhook, svix.webhooks.WebhookVerificationError, id="svix"),
]


@pytest.mark.parametrize(("judge", "refusal"), JUDGES)
@pytest.mark.parametrize("secret", [SECRET, as_whsec(SECRET)], ids=["text", "whsec"])
def test_the_published_packages_accept_our_signature_and_no_other(
    judge: type[standardwebhooks.Webhook], refusal: type[Exception], secret: str
) -> None:
    # Given a delivery signed now, with the secret in either of its two forms
    headers = signed(secret=secret, at=int(datetime.now(UTC).timestamp()))

    # When a receiver verifies it, with the secret converted as the README shows
    receiver = judge(as_whsec(SECRET))
    receiver.verify(BODY.decode(), headers)

    # Then only the body that was sent passes
    with pytest.raises(refusal):
        receiver.verify(BODY.decode() + " ", headers)


def test_the_signature_equals_that_of_the_published_package() -> None:
    theirs = standardwebhooks.Webhook(as_whsec(SECRET)).sign(
        ID, datetime.fromtimestamp(NOW, UTC), BODY.decode()
    )

    assert signed()["webhook-signature"] == theirs


@given(secret=secrets, message_id=ids, at=times, body=st.binary())
def test_what_we_sign_we_accept(secret: str, message_id: str, at: int, body: bytes) -> None:
    headers = signing.headers(secret, message_id=message_id, timestamp=at, body=body)

    assert verify(secret, headers=headers, body=body, now=at)
    assert verify(as_whsec(secret), headers=headers, body=body, now=at)


@given(body=st.binary(), other=st.binary())
def test_another_body_is_refused(body: bytes, other: bytes) -> None:
    assert verify(SECRET, headers=signed(body=body), body=other, now=NOW) == (body == other)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_a_changed_or_missing_header_is_refused(name: str) -> None:
    headers = signed()
    changed = headers | {name: headers[name][:-1] + ("1" if headers[name][-1] != "1" else "2")}
    missing = {other: value for other, value in headers.items() if other != name}

    assert not verify(SECRET, headers=changed, body=BODY, now=NOW)
    assert not verify(SECRET, headers=missing, body=BODY, now=NOW)


def test_another_secret_is_refused() -> None:
    assert not verify("another secret", headers=signed(), body=BODY, now=NOW)


@pytest.mark.parametrize("seconds", [-301, -300, 0, 300, 301])
def test_a_timestamp_is_fresh_for_five_minutes_either_way(seconds: int) -> None:
    fresh = verify(SECRET, headers=signed(), body=BODY, now=NOW + seconds)

    assert fresh == (abs(seconds) <= 300)


def test_header_names_are_matched_in_any_case() -> None:
    headers = {name.title(): value for name, value in signed().items()}

    assert verify(SECRET, headers=headers, body=BODY, now=NOW)


def test_one_good_signature_among_several_is_enough() -> None:
    # Given a sender that rotates its secret and signs with both
    headers = signed()
    rotated = signed(secret="the old secret")["webhook-signature"]
    headers["webhook-signature"] = f"v1a,abc {rotated} {headers['webhook-signature']}"

    assert verify(SECRET, headers=headers, body=BODY, now=NOW)


@pytest.mark.parametrize(
    "token",
    ["", " ", "garbage", "v1", "v1,", "v1,a,b", "v2,x", "v1,\udcff", "v1,ä", ",,", "v1,===="],
)
def test_a_malformed_signature_is_false_and_not_an_error(token: str) -> None:
    assert not verify(SECRET, headers=signed() | {"webhook-signature": token}, body=BODY, now=NOW)


@given(
    message_id=st.text(), at=st.text(), tokens=st.text(), body=st.binary(), now=st.floats(0, 1e11)
)
def test_no_stranger_can_make_verification_fail_otherwise_than_false(
    message_id: str, at: str, tokens: str, body: bytes, now: float
) -> None:
    headers = {"webhook-id": message_id, "webhook-timestamp": at, "webhook-signature": tokens}

    assert verify(SECRET, headers=headers, body=body, now=now) is False


def test_a_whsec_secret_is_base64_and_any_other_is_its_utf8() -> None:
    assert secret_bytes("whsec_AAEC") == b"\x00\x01\x02"
    assert secret_bytes("schlüssel") == "schlüssel".encode()


@pytest.mark.parametrize(
    "secret",
    ["whsec_", "whsec_notb64!!", "whsec_abc", "whsec_AA==AA==", "whsec_ä", "whsec_-_-_", ""],
)
def test_an_unusable_secret_is_refused_in_words_without_repeating_it(secret: str) -> None:
    with pytest.raises(BadSecret) as refused:
        secret_bytes(secret)

    told = str(refused.value)
    assert "webhook_secret" in told
    assert not secret.removeprefix("whsec_") or secret.removeprefix("whsec_") not in told


@pytest.mark.parametrize("message_id", ["", "evt.1", "evt_ä"])
def test_an_id_that_could_be_misread_is_not_signed(message_id: str) -> None:
    with pytest.raises(ValueError, match="webhook id"):
        signing.sign(SECRET, message_id=message_id, timestamp=NOW, body=BODY)
