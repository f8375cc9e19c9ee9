"""Long values are hashed, sealed and shown by pieces, with the same result as at once."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from models import vault
from models.excerpt import excerpt
from models.vault import Vault
from tasks import repeats
from tasks.repeats import canonical_hash, hashed

SECRET = "a-key-that-only-tests-use-0123456789"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.parametrize("size", [0, 1, 2, 15, 16, 17, 18, 35, 36, 1_000, 1_001, 1_002])
def test_what_is_sealed_by_pieces_any_fernet_opens(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault, "_PIECE", 18)
    key = vault._derive(SECRET.encode(), b"longtake/at-rest")  # noqa: SLF001 - as Vault does
    value = bytes(number % 251 for number in range(size))

    sealed = Vault((SecretStr(SECRET),)).seal(value)

    assert Fernet(urlsafe_b64encode(key)).decrypt(sealed) == value
    assert Vault((SecretStr(SECRET),)).open(sealed) == value


@given(_JSON)
def test_a_value_has_the_same_hash_by_pieces(value: Any) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_PIECE", 3)
        assert canonical_hash(hashed(value)) == canonical_hash(value)


def test_a_message_shows_the_beginning_of_a_value() -> None:
    assert excerpt("x" * 10_000, most=8) == "'xxxxxx…"
    assert excerpt("short", most=8) == "'short'"
    for value in ({"a": [1, 2.5, None]}, ["x"], 7, True, "quo'te"):
        assert excerpt(value, most=64) == repr(value)
    assert len(excerpt({str(n): json.dumps([n] * 99) for n in range(9_999)}, most=64)) == 64
