"""Messages show of an address who is asked, and not what opens there."""

import pytest

from models.excerpt import excerpt
from models.failure import RequestRefused
from models.request import VideoRequest


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("ftp://a", "'ftp://a'"),
        ("https://me:s3cret@a.example/s3cret?s3cret", "'https://a.example/…'"),
        ({"url": "https://a.example:8443/s3cret"}, "{'url': 'https://a.example:8443/…'}"),
        (["https://a.example?s3cret", 5], "['https://a.example/…', 5]"),
        ("https://me:" + "s3cret" * 50 + "@a.example/", "'https://…'"),
        ("https://me:pa'#/?s3cret@a.example/", '"https://a.example/…"'),
        ("a fox", "'a fox'"),
        (5, "5"),
    ],
)
def test_of_an_address_scheme_and_host_are_shown(value: object, shown: str) -> None:
    assert excerpt(value, most=61) == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("webhook_url", "https://me:s3cret@hooks.example/s3cret"),
        ("webhook_url", "ftp://hooks.example/s3cret"),
        ("image", "ftp://me:s3cret@pictures.example/s3cret.png?token=s3cret"),
        ("reference_images", [{"image": "ftp://a.example/s3cret", "type": "asset"}]),
        ("webhook_secret", {"value": "s3cret"}),
    ],
)
def test_a_refusal_names_the_field_and_no_secret(field: str, value: object) -> None:
    with pytest.raises(RequestRefused, match=field) as refused:
        VideoRequest.from_json({"prompt": "a fox", field: value})

    assert "s3cret" not in refused.value.message
