import pytest
from hypothesis import given
from hypothesis.strategies import text

from transport.redact import redact, safe_url


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("https://a.example/v/1.mp4?X-Amz-Signature=abc&x=1", "https://a.example"),
        ("https://user:pass@a.example:8443/p#frag", "https://a.example:8443"),
        ("https://user@@a.example/p", "https://a.example"),
        ("https://a.example", "https://a.example"),
        ("http://[::1]:80/x", "http://[::1]:80"),
        ("https://hooks.example/services/T0/s3cret", "https://hooks.example"),
        ("https://a.example\\s3cret", "https://a.example"),
        ("https://a.example?sig=1", "https://a.example"),
        ("https://me:pa'/#?s3cret@a.example/p", "https://a.example"),
        ("https://a.example/it's-s3cret", "https://a.example"),
        (r"https:\/\/a.example\/s3cret", "https://a.example"),
        ("data:image/png;base64,AAAA", "[…]"),
        ("s3cret", "[…]"),
    ],
)
def test_a_safe_address_has_scheme_and_host_alone(url: str, safe: str) -> None:
    assert safe_url(url) == safe


@pytest.mark.parametrize(
    "secret",
    [
        "Authorization: Bearer s3cretS3CRET",
        "authorization: bearer s3cretS3CRET",
        "'Authorization': 'Key s3cret-id:S3CRET'",
        "Authorization: Basic s3cretS3CRET==",
        "Authorization: Token s3cretS3CRET",
        "sent with Bearer s3cretS3CRET to them",
        "X-API-Key: s3cret",
        '{"api_key": "s3cret"}',
        "api_key=s3cret&x=1",
        "x-goog-api-key: s3cret",
        "password=s3cret",
        "signature: s3cret",
        "whsec_s3cretS3CRET",
        "key lt_s3cretS3CRET here",
        "Incorrect API key provided: sk-s3cretS3CRET.",
        "key_s3cretS3CRET",
        "r8_s3cretS3CRET",
        "AIzas3cretS3CRET",
        "https://a.example/x?token=s3cret",
        "see https://u:s3cret@a.example/x, please",
        "POST https://hooks.example/services/T0/s3cret: HTTP 500",
        "redis://:pa#s3cret@broker.example:6379/0 is away",
        "get 'https://a.example/it's-s3cret', please",
    ],
)
def test_what_looks_like_a_key_is_masked(secret: str) -> None:
    assert "s3cret" not in redact(secret)
    assert "[…]" in redact(secret) or "://" in secret


def test_an_address_in_json_may_have_escaped_slashes() -> None:
    given = r'{"url":"https:\/\/a.example\/s3cret"}'
    assert redact(given) == '{"url":"https://a.example"}'


@pytest.mark.parametrize(
    "plain",
    [
        "All connection attempts failed",
        "[Errno 111] Connect call failed ('127.0.0.1', 8080)",
        "certificate verify failed: certificate has expired (_ssl.c:1000)",
        "no key of that name; the monkey and the turkey agree",
        "POST https://api.example: no answer within 30 s",
    ],
)
def test_other_words_stay_as_they_are(plain: str) -> None:
    assert redact(plain) == plain


@given(text(), text())
def test_redacting_never_fails_and_twice_is_once(before: str, after: str) -> None:
    once = redact(f"{before}Bearer s3cretS3CRET {after}")

    assert redact(once) == once
