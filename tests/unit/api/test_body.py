"""Bodies are parsed without leniency: what is taken can be stored and given back."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.failure import RequestRefused
from models.strict_json import MAX_DEPTH, parse_json

#: Bodies that are not the JSON we can take, and words of the message.
BROKEN_BODIES = [
    (b"", "is required"),
    (b"   ", "is required"),
    (b"{", "is not JSON"),
    (b'{"prompt": "a",}', "is not JSON"),
    (b'{"prompt": "a"} x', "is not JSON"),
    (b"prompt=a", "is not JSON"),
    (b'\xef\xbb\xbf{"prompt": "a"}', "is not JSON"),
    (b'{"prompt": "\xff"}', "is not UTF-8"),
    ('{"prompt": "a"}'.encode("utf-16"), "is not UTF-8"),
    (b'{"prompt": "a", "prompt": "b"}', "has the key 'prompt' twice"),
    (b'{"prompt": "a", "metadata": {"x": 1, "x": 1}}', "has the key 'x' twice"),
    (b'{"prompt": "a", "cfg_scale": NaN}', "has NaN"),
    (b'{"prompt": "a", "max_cost_usd": Infinity}', "has Infinity"),
    (b'{"prompt": "a", "metadata": {"x": 1e999}}', "out of range"),
    (b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}", "too many digits"),
    (b'{"prompt": "a", "metadata": ' + b'{"x":' * 80 + b"1" + b"}" * 81, "nested deeper"),
    (b"[" * 100_000, "nested deeper"),
    (b'{"a":' * 100_000, "nested deeper"),
    (b'{"a": "\\u0000"}', "NUL"),
    (b'{"\\u0000": 1}', "NUL"),
    (b'{"a": "\x00"}', "is not JSON"),
    (b'{"a": ["\\ud800"]}', "surrogate"),
]

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc\u00e9"), inner),
)


@pytest.mark.parametrize(
    ("body", "words"),
    BROKEN_BODIES,
    ids=[f"{number}: {case[0][:30]!r}" for number, case in enumerate(BROKEN_BODIES)],
)
def test_what_is_not_strict_json_is_refused_in_words(body: bytes, words: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_json(body)

    assert words in refused.value.message
    assert refused.value.type == "invalid_request"


@given(values)
def test_what_is_json_comes_through_unchanged(value: Any) -> None:
    assert parse_json(json.dumps(value, ensure_ascii=True).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


def test_nesting_is_allowed_up_to_its_limit() -> None:
    def nested(depth: int) -> bytes:
        return b"[" * depth + b"]" * depth

    parse_json(nested(MAX_DEPTH))
    parse_json(b"[" + b"[]," * 1000 + b"[]]")
    with pytest.raises(RequestRefused, match="nested deeper"):
        parse_json(nested(MAX_DEPTH + 1))
