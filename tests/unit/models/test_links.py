"""Which URLs, pictures and secrets a request may have; what is refused says why."""

import base64
from typing import Any

import pytest

from models.batch import BatchOptions
from models.data_uris import TYPES, check_picture, picture_type
from models.failure import RequestRefused
from models.gate import GateRequest
from models.links import http_url
from models.request import VideoRequest
from models.webhook_secret import webhook_secret

PNG = b"\x89PNG\r\n\x1a\n"

#: A URL that no client can call, and words of what is said of it.
BAD_URLS = [
    ("https:", "http:// or https:// URL with a host"),
    ("https://", "URL with a host"),
    ("https:///path", "URL with a host"),
    ("https:example.com", "URL with a host"),
    ("ftp://example.com/", "http:// or https://"),
    ("//example.com/", "http:// or https://"),
    ("https://example.com:99999/", "port from 1 to 65535"),
    ("https://example.com:0/", "port from 1 to 65535"),
    ("https://example.com:abc/", "port from 1 to 65535"),
    ("https://example.com:-1/", "port from 1 to 65535"),
    ("https://exam ple.com/", "spaces"),
    ("https://example.com/a b", "spaces"),
    (" https://example.com/", "spaces"),
    ("https://example.com/\r\nX-Evil: 1", "control characters"),
    ("https://example.com/\ta", "control characters"),
    ("https://example.com/\x7f", "control characters"),
    ("https://example.com/\u2028", "spaces"),
    ("https://example.com\\@evil.test/", "backslashes"),
    ("https://example.com/\x00", "NUL"),
    (f"https://{'a' * 64}.com/", "1 to 63"),
    (f"https://{'ä' * 64}.com/", "1 to 63"),
    ("https://a..b/", "1 to 63"),
    ("https://.example.com/", "1 to 63"),
    ("https://exa%6dple.com/", "letters, digits"),
    ("https://exa_mple!.com/", "letters, digits"),
    (f"https://{'a.' * 130}com/", "253"),
    ("https://[::1/", "IPv6"),
    ("http://[v1.abc]/", "IPv6"),
    ("http://x[::1]/", "IPv6"),
    ("https://[nonsense]/", "IPv6"),
    ("https://[1:2]/", "IPv6"),
    ("https://1.2.3.999/", "IP address"),
    ("https://1.2.3.4.5/", "IP address"),
]
GOOD_URLS = [
    "https://example.com",
    "HTTPS://EXAMPLE.com/Hook?token=a%20b#c",
    "http://example.com:1/",
    "https://example.com:65535/",
    "https://example.com:/",
    "https://example.com./",
    f"https://{'a' * 63}.com/",
    "https://under_score.example.com/",
    "https://bücher.example/ä",
    "http://receiver:8080/hook",
    "https://[2001:4860:4860::8888]:443/",
    "https://8.8.8.8/",
    "http://2130706433/",
]


@pytest.mark.parametrize(("url", "words"), BAD_URLS)
@pytest.mark.parametrize("field", ["webhook_url", "image", "reference_images"])
def test_a_url_that_nobody_can_call_is_refused_by_name(field: str, url: str, words: str) -> None:
    value = [url] if field == "reference_images" else url
    with pytest.raises(RequestRefused) as refused:
        VideoRequest.from_json({"prompt": "a", field: value})

    named = "reference_images[0]" if field == "reference_images" else field
    assert refused.value.param == named
    assert refused.value.message.startswith(named)
    if "http:// or" not in words and "with a host" not in words:
        assert words in refused.value.message


@pytest.mark.parametrize(("url", "words"), BAD_URLS)
def test_the_reason_says_what_is_allowed(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        http_url(url)
    with pytest.raises(RequestRefused) as refused:
        BatchOptions.from_json({"webhook_url": url})
    assert refused.value.param == "options.webhook_url"


@pytest.mark.parametrize("url", GOOD_URLS)
def test_a_url_that_can_be_called_is_taken_as_it_is(url: str) -> None:
    request = VideoRequest.from_json({"prompt": "a", "webhook_url": url, "image": url})

    assert (request.webhook_url, request.image) == (url, url)


def _uri(content: bytes | str, kind: str = "image/png") -> str:
    text = content if isinstance(content, str) else base64.b64encode(content).decode()
    return f"data:{kind};base64,{text}"


#: The first 12 bytes of each type.
PICTURES = {
    "image/jpeg": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
    "image/png": PNG + b"\x00\x00\x00\r",
    "image/webp": b"RIFF\x00\x00\x00\x00WEBP",
    "image/gif": b"GIF89a\x01\x00\x01\x00\x00\x00",
    "image/bmp": b"BM" + bytes(10),
    "image/tiff": b"II*\x00" + bytes(8),
    "image/avif": b"\x00\x00\x00\x20ftypavif",
    "image/heic": b"\x00\x00\x00\x20ftypheic",
    "image/heif": b"\x00\x00\x00\x20ftypmif1",
}


@pytest.mark.parametrize("kind", TYPES)
def test_a_picture_of_each_type_is_taken(kind: str) -> None:
    found = "image/jpeg" if kind == "image/jpg" else kind
    head = PICTURES[found]

    assert picture_type(head) == found
    check_picture(_uri(head + b"more", kind))


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (_uri(""), "is base64"),
        (_uri("!!!!"), "is base64"),
        (_uri("iVBORw0KGgo"), "is base64"),  # without its padding
        (_uri("iVBORw0KGgo=" * 2), "is base64"),
        (_uri("iVBO\nRw0KGgoA"), "is base64"),
        (_uri("iVBO-_0KGgoA"), "is base64"),
        (_uri("é" * 16), "is base64"),
        (_uri("iVBORw0KGgoA" + "A" * 2**18 + "=" + "AAA"), "is base64"),
        (_uri("iVBORw0KGgoA" + "A" * 2**18 + "AAA!"), "is base64"),
        (_uri(b"<html><body>no picture</body></html>"), "is a picture"),
        (_uri(b"hello"), "is a picture"),
        (_uri(b"\x00\x00\x00\x20ftypmp42"), "is a picture"),
        (_uri(b"RIFF\x00\x00\x00\x00WAVE"), "is a picture"),
        (_uri(PNG, "image/svg+xml"), "one of the types"),
        (_uri(PNG, "image/"), "one of the types"),
    ],
)
def test_a_data_uri_that_is_no_picture_is_refused_by_name(uri: str, words: str) -> None:
    for field, value in (("image", uri), ("reference_images", [{"image": uri, "type": "style"}])):
        with pytest.raises(RequestRefused) as refused:
            VideoRequest.from_json({"prompt": "a", field: value})

        assert (refused.value.param or "").startswith(field)
        assert words in refused.value.message
        assert len(refused.value.message) < 400


def _encoded(count: int) -> str:
    return "whsec_" + base64.b64encode(bytes(count)).decode()


@pytest.mark.parametrize(
    "secret",
    [
        *("x" * 8, "x" * 512, "éééé", _encoded(16), _encoded(24), _encoded(64)),
        *("whsec_bG9uZ3Rha2UtZXhhbXBsZS1zZWNyZXQ=", "a-long-shared-secret"),
    ],
)
def test_a_secret_of_an_allowed_length_is_taken(secret: str) -> None:
    fields = {"webhook_url": "https://example.com/", "webhook_secret": secret}

    assert VideoRequest.from_json({"prompt": "a"} | fields).webhook_secret == secret
    assert BatchOptions.from_json(fields).webhook_secret == secret


@pytest.mark.parametrize(
    "secret",
    [
        *("", "x" * 7, "x" * 513, "é" * 3, "é" * 257, "whsec_", _encoded(15), _encoded(65)),
        *("whsec_not base64 at all", "whsec_éééééééééééé", "nul\x00in-the-secret"),
    ],
)
def test_another_secret_is_refused_and_never_shown(secret: str) -> None:
    with pytest.raises(ValueError, match=r"8 to 512 bytes, or whsec_|NUL"):
        webhook_secret(secret)
    for refuse in (
        lambda: VideoRequest.from_json({"prompt": "a", "webhook_secret": secret}),
        lambda: BatchOptions.from_json({"webhook_secret": secret}),
    ):
        with pytest.raises(RequestRefused) as refused:
            refuse()
        assert "webhook_secret" in (refused.value.param or "")
        assert not secret or secret not in refused.value.message.replace("whsec_ and", "")


@pytest.mark.parametrize("number", [10**400, -(10**400), 2**1024])
@pytest.mark.parametrize(
    ("read", "body", "field"),
    [
        (VideoRequest.from_json, {"prompt": "a"}, "cfg_scale"),
        (VideoRequest.from_json, {"prompt": "a"}, "max_cost_usd"),
        (VideoRequest.from_json, {"prompt": "a"}, "duration_seconds"),
        (VideoRequest.from_json, {"prompt": "a"}, "seed"),
        (VideoRequest.from_json, {"prompt": "a"}, "motion_bucket_id"),
        (VideoRequest.from_json, {"prompt": "a"}, "fps"),
        (VideoRequest.from_json, {"prompt": "a"}, "count"),
        (VideoRequest.from_json, {"prompt": "a"}, "deadline_seconds"),
        (VideoRequest.from_json, {"prompt": "a"}, "start_within_seconds"),
        (BatchOptions.from_json, {}, "max_cost_usd"),
        (BatchOptions.from_json, {}, "concurrency"),
        (GateRequest.from_json, {"name": "a", "model": "b"}, "spending_limit_usd"),
    ],
)
def test_a_number_with_hundreds_of_digits_is_refused_by_name(
    read: Any, body: dict[str, Any], field: str, number: int
) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(body | {field: number})

    assert (refused.value.param or "").endswith(field)
    assert len(refused.value.message) < 200
    assert "valid number" not in refused.value.message
