"""fal's signature on its callbacks: Ed25519, with keys that are published as a JSON Web Key Set."""

import base64
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from providers.callbacks import BadCallbackSecret
from providers.vendors.fal.fal import Fal
from providers.vendors.fal.signature import is_signed, keys_of

NOW = 1_800_000_000.0
BODY = b'{"request_id": "r1", "status": "OK"}'
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OLD = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))


def entry(key: Ed25519PrivateKey) -> dict[str, str]:
    public = base64.urlsafe_b64encode(key.public_key().public_bytes_raw()).decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": public.rstrip("=")}


JWKS = json.dumps({"keys": [{"kty": "RSA", "crv": "", "x": "?"}, entry(OLD), entry(KEY)]})


def headers(*, key: Ed25519PrivateKey = KEY, at: float = NOW, body: bytes = BODY) -> dict[str, str]:
    digest = hashlib.sha256(body).hexdigest()
    signed = f"r1\nuser\n{int(at)}\n{digest}".encode()
    return {
        "X-Fal-Webhook-Request-Id": "r1",
        "X-Fal-Webhook-User-Id": "user",
        "X-Fal-Webhook-Timestamp": str(int(at)),
        "X-Fal-Webhook-Signature": key.sign(signed).hex(),
    }


@pytest.mark.parametrize("key", [KEY, OLD], ids=["new", "old"])
@pytest.mark.parametrize("at", [NOW - 300, NOW, NOW + 300])
def test_a_callback_that_one_of_the_keys_signed_is_genuine(
    key: Ed25519PrivateKey, at: float
) -> None:
    assert is_signed(headers(key=key, at=at), BODY, jwks=JWKS, now=NOW)


def test_a_callback_that_anybody_else_signed_or_altered_is_not() -> None:
    stranger = Ed25519PrivateKey.from_private_bytes(bytes(32))
    assert not is_signed(headers(key=stranger), BODY, jwks=JWKS, now=NOW)
    assert not is_signed(headers(), BODY + b" ", jwks=JWKS, now=NOW)
    for name in headers():
        assert not is_signed(headers() | {name: "1"}, BODY, jwks=JWKS, now=NOW)


@pytest.mark.parametrize("at", [NOW - 301, NOW + 301])
def test_a_callback_of_another_time_is_not(at: float) -> None:
    assert not is_signed(headers(at=at), BODY, jwks=JWKS, now=NOW)


@pytest.mark.parametrize("value", ["", "zz", "00", "é", "٣", "-1", "1" * 400, "1e9", " "])
def test_whatever_a_stranger_sends_is_refused_and_no_error(value: str) -> None:
    for name in headers():
        assert not is_signed(headers() | {name: value}, BODY, jwks=JWKS, now=NOW)
    assert not is_signed({}, BODY, jwks=JWKS, now=NOW)


@pytest.mark.parametrize(
    "jwks",
    [
        *("", "{}", "[]", "null", '{"keys": []}', '{"keys": [7]}', '{"keys": null}', "[" * 100_000),
        '{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}]}',
        '{"keys": [{"kty": "OKP", "crv": "X25519", "x": "AAAA"}]}',
    ],
)
def test_keys_that_are_none_are_the_operators_error(jwks: str) -> None:
    with pytest.raises(BadCallbackSecret):
        keys_of(jwks)


def test_without_keys_the_unguessable_address_is_the_proof() -> None:
    assert Fal().callback_is_genuine({}, BODY, secret=None, now=NOW)
    assert Fal().callback_is_genuine(headers(), BODY, secret=JWKS, now=NOW)
    assert not Fal().callback_is_genuine({}, BODY, secret=JWKS, now=NOW)
