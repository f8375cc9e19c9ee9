"""Signed links: who holds one may watch one video for a while, and nothing else."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.links import check_link, sign_link

OLD, NEW = b"o" * 32, b"n" * 32
PATH = "/v1/video/generations/job_1/content"
NOW = 1_790_000_000
EXPIRES = NOW + 3600


@given(path=st.text(), expires=st.integers(min_value=1, max_value=10**11))
def test_a_link_opens_its_path_until_it_expires(path: str, expires: int) -> None:
    query = sign_link([NEW], path, expires=expires)

    assert check_link([NEW], path, query, now=expires - 1)
    assert not check_link([NEW], path, query, now=expires)


def test_a_link_outlives_the_rotation_of_its_key_and_not_the_keys_removal() -> None:
    query = sign_link([OLD], PATH, expires=EXPIRES)

    assert check_link([NEW, OLD], PATH, query, now=NOW)
    assert not check_link([NEW], PATH, query, now=NOW)


def test_the_newest_key_signs() -> None:
    query = sign_link([NEW, OLD], PATH, expires=EXPIRES)

    assert check_link([NEW], PATH, query, now=NOW)
    assert not check_link([OLD], PATH, query, now=NOW)


def test_a_link_opens_no_other_path_and_can_not_be_prolonged() -> None:
    query = sign_link([NEW], PATH, expires=EXPIRES)

    assert not check_link([NEW], PATH.replace("job_1", "job_2"), query, now=NOW)
    assert not check_link([NEW], PATH, query.replace(str(EXPIRES), str(EXPIRES + 1)), now=NOW)


@given(flip=st.integers(min_value=0, max_value=42), put=st.sampled_from("abcXYZ019-_="))
def test_every_character_of_the_signature_counts(flip: int, put: str) -> None:
    query = sign_link([NEW], PATH, expires=EXPIRES)
    head, signature = query.split("signature=")
    changed = signature[:flip] + put + signature[flip + 1 :]

    assert check_link([NEW], PATH, f"{head}signature={changed}", now=NOW) == (changed == signature)


SIGNATURE = sign_link([NEW], PATH, expires=EXPIRES).partition("signature=")[2]


@pytest.mark.parametrize(
    "query",
    [
        "",
        f"signature={SIGNATURE}",
        f"expires={EXPIRES}",
        f"expires={EXPIRES}&expires={EXPIRES}&signature={SIGNATURE}",
        f"expires={EXPIRES}&signature={SIGNATURE}&signature={SIGNATURE}",
        f"expires=0{EXPIRES}&signature={SIGNATURE}",
        f"expires=%2B{EXPIRES}&signature={SIGNATURE}",
        f"expires={'9' * 400}&signature={SIGNATURE}",
        f"expires={EXPIRES}&signature=ä",
        f"expires={EXPIRES}&signature=%ff",
        f"expires={EXPIRES}&signature={SIGNATURE}" + "&x=1" * 100,
    ],
)
def test_a_malformed_query_is_false_and_not_an_error(query: str) -> None:
    assert not check_link([NEW], PATH, query, now=NOW)


def test_fields_that_are_not_signed_are_ignored() -> None:
    query = sign_link([NEW], PATH, expires=EXPIRES)

    assert check_link([NEW], PATH, f"download=1&{query}", now=NOW)


def test_the_query_needs_no_escaping() -> None:
    query = sign_link([NEW], PATH, expires=EXPIRES)

    assert {name: [value] for name, value in (f.split("=") for f in query.split("&"))} == parse_qs(
        query
    )


def test_without_a_key_nothing_is_signed_and_nothing_opens() -> None:
    with pytest.raises(ValueError, match="without a key"):
        sign_link([], PATH, expires=EXPIRES)
    assert not check_link([], PATH, sign_link([NEW], PATH, expires=EXPIRES), now=NOW)
