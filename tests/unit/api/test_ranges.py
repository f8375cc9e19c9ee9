"""Ranges: exactly the bytes that were asked for, or all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.native.ranges import Span, Unsatisfiable, names_etag, still_is, wanted_span

sizes = st.integers(1, 10_000)


@given(sizes, st.integers(0, 10_000), st.integers(0, 10_000))
def test_first_and_last_are_both_included(size: int, first: int, length: int) -> None:
    header = f"bytes={first}-{first + length}"
    if first >= size:
        with pytest.raises(Unsatisfiable):
            wanted_span(header, size=size)
        return

    span = wanted_span(header, size=size)

    data = bytes(size)
    assert span is not None
    assert len(data[span.start : span.end]) == min(length + 1, size - first)
    assert span.start == first


@given(sizes, st.integers(1, 20_000))
def test_a_suffix_counts_from_the_end(size: int, length: int) -> None:
    assert wanted_span(f"bytes=-{length}", size=size) == Span(max(0, size - length), size)


@given(st.text() | st.none(), sizes)
def test_whatever_a_client_sends_is_a_span_within_the_video_or_the_whole(
    header: str | None, size: int
) -> None:
    try:
        span = wanted_span(header, size=size)
    except Unsatisfiable:
        return
    assert span is None or 0 <= span.start < span.end <= size


def test_an_etag_is_compared_weakly_for_caches_and_strongly_for_ranges() -> None:
    assert names_etag('"a", W/"b"', '"b"')
    assert names_etag("*", '"b"')
    assert not names_etag('"a"', '"b"')
    assert not names_etag(None, '"b"')
    assert still_is(None, '"b"')
    assert still_is('"b"', '"b"')
    assert not still_is('W/"b"', '"b"')
    assert not still_is("Sat, 21 Nov 2026 00:00:00 GMT", '"b"')
