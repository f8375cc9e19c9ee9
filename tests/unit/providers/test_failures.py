"""Failures say what a vendor said, and nothing that must not be said."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.failure import Fault
from providers import failures
from transport.base import Response


@pytest.mark.parametrize("fault", Fault)
def test_every_fault_has_a_code(fault: Fault) -> None:
    assert failures.failure(fault, "x").code == failures.CODES[fault]


@given(st.integers(100, 999))
def test_a_status_nobody_documented_is_unknown_unless_the_server_is_in_trouble(status: int) -> None:
    fault = failures.by_status(status)
    if status < 400:
        assert fault is Fault.UNKNOWN
    if status >= 500:
        assert fault is Fault.TRANSIENT


@given(st.binary(max_size=200))
def test_an_error_body_of_any_bytes_is_read_without_a_crash(content: bytes) -> None:
    response = Response(status=500, headers={}, content=content)
    failed = failures.from_answer(response, title="X", words=failures.words_of(response, "e"))
    assert failed.message.startswith("X answered HTTP 500")


def test_a_deep_or_odd_error_body_says_nothing() -> None:
    for content in (b"[" * 50_000, b'{"error": {"a": 1}}', b'{"error": 7}', b"null", b'"x"'):
        response = Response(status=400, headers={}, content=content)
        assert failures.words_of(response, "error") is None


@given(st.text())
def test_shown_words_are_one_short_printable_line(words: str) -> None:
    line = failures.shown(words)
    assert len(line) <= 240
    assert line.isprintable()


def test_shown_words_have_no_signature_picture_or_key() -> None:
    line = failures.shown(
        "bad https://cdn.example.com/a.png?X-Amz-Signature=abc data:image/png;base64,aGVsbG8= "
        "Bearer key_0123456789abcdef and the rest"
    )
    assert "and the rest" in line
    for secret in ("Signature", "aGVsbG8", "0123456789"):
        assert secret not in line


def test_a_quoted_prompt_is_cut_out_even_when_it_is_cut_short() -> None:
    prompt = "an old sailor mends his nets " * 30
    failed = failures.failure(Fault.REFUSED, "X refused", words=f"bad prompt: {prompt}")
    assert "sailor" in failed.message
    clean = failures.without_echoes(failed, sent={"video": [{"text": prompt}]}, secrets=())
    assert "sailor" not in clean.message
    assert clean.message.startswith("X refused: bad prompt: …")


@given(st.text(min_size=12), st.text(max_size=40), st.text(max_size=40))
def test_an_echo_is_cut_wherever_it_stands(prompt: str, before: str, after: str) -> None:
    quoted = failures.shown(prompt)
    failed = failures.failure(Fault.REFUSED, "X", words=f"{before} {prompt} {after}")
    clean = failures.without_echoes(failed, sent={"prompt": prompt}, secrets=())
    if len(quoted) >= 12:
        assert quoted[:12] not in clean.message


def test_a_short_word_is_not_taken_for_an_echo() -> None:
    failed = failures.failure(Fault.REFUSED, "X", words="model is gone")
    assert failures.without_echoes(failed, sent={"a": "model"}, secrets=()) == failed
