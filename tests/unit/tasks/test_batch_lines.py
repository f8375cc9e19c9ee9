"""Batches are read a little at a time, and give what reading them whole would give."""

import asyncio
import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.failure import RequestRefused
from tasks.batches import lines, scanning
from tasks.batches.lines import FileSource, Line

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_characters="\x00")), inner, max_size=4
        )
    ),
    max_leaves=6,
)
#: Bytes that are read at a time.
STEPS = (3, 32 * 1024)


def read(content: bytes, *, step: int = STEPS[-1]) -> tuple[Any, list[Line]]:
    async def work() -> tuple[Any, list[Line]]:
        source = await FileSource.open(io.BytesIO(content))
        once = [line async for line in source.lines()]
        again = [line async for line in source.lines()]
        assert [line.value for line in again] == [line.value for line in once]
        return source.options, once

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scanning, "_STEP", step)
        return asyncio.run(work())


def told(found: list[Line]) -> list[tuple[int, str, bool]]:
    return [(each.number, str(each.refusal), each.is_end) for each in found if each.refusal]


@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(VALUES, max_size=6),
    options=st.dictionaries(st.text("ab"), st.booleans()),
    style=st.fixed_dictionaries(
        {"ensure_ascii": st.booleans(), "indent": st.sampled_from([None, 1])}
    ),
    step=st.sampled_from(STEPS),
)
def test_any_step_gives_the_elements_that_json_gives(
    values: list[Any], options: dict[str, bool], style: dict[str, Any], step: int
) -> None:
    def text(value: Any) -> bytes:
        return json.dumps(value, **style).encode()

    array = text(values)
    _, from_array = read(array, step=step)
    first, from_object = read(text({"options": options, "requests": values}), step=step)
    last, turned = read(text({"requests": values, "options": options}), step=step)

    for found in (from_array, from_object, turned):
        assert not told(found)
        assert [line.value for line in found] == values
        assert [line.number for line in found] == list(range(1, len(values) + 1))
    assert first == last == options


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_lines_of_text_keep_their_numbers_in_the_file(bom: bytes, end: bytes) -> None:
    content = bom + end.join([b"", b'{"batch": {"name": "n"}}', b"", b'{"a": 1}', b"  ", b"[2]"])

    options, found = read(content)

    assert options == {"name": "n"}
    assert [(line.number, line.value) for line in found] == [(4, {"a": 1}), (6, [2])]


def test_a_broken_line_of_text_does_not_hide_the_next() -> None:
    _, found = read(b'{"a": 1}\n{"a"\n{"a": 1, "a": 2}\n{"a": "\xff"}\n{"a": "\\u0000"}\n{"b": 2}')

    assert [number for number, _, _ in told(found)] == [2, 3, 4, 5]
    assert [line.value for line in found if not line.refusal] == [{"a": 1}, {"b": 2}]
    words = " ".join(message for _, message, _ in told(found))
    for reason in ("line 2 is not JSON", "twice", "not UTF-8", "NUL"):
        assert reason in words


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        (b'[{"a": 1},', 2, "the file ends in the middle"),
        (b'[{"a": 1}, {"b"', 2, "the file ends in the middle"),
        (b'[{"a": 1} {"b": 2}]', 1, "is followed by '{'"),
        (b'[{"a": 1},]', 2, "a value is missing"),
        (b'[{"a": 1}] x', 1, "something after the end"),
        (b'{"options": {}, "requests": [{"a": 1}]', 1, "the end of the file"),
        (b'{"options": {}, "requests": {"a": 1}}', 0, "requests"),
    ],
)
@pytest.mark.parametrize("step", STEPS)
def test_where_an_array_breaks_reading_ends(
    content: bytes, line: int, reason: str, step: int
) -> None:
    _, found = read(content, step=step)

    ((number, message, is_end),) = told(found)
    assert (number, is_end) == (line, True)
    assert reason in message


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n\t\r\n", "empty"),
        (b'{"options": 3, "requests": []}', "options must be a JSON object"),
        (b'{"options": {}, "other": []}', "beside options and requests"),
        (b'{"options": {}}', "requests is required"),
        (b'{"requests": {}, "options": {}}', "requests must be an array"),
        (b'{"batch": 1}\n{}', "batch must be a JSON object"),
    ],
)
def test_what_has_no_lines_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(RequestRefused, match=reason):
        read(content)


@pytest.mark.parametrize("make", [b"[%b, %b]", b"%b\n%b"])
def test_a_line_that_is_too_long_does_not_hide_the_next(
    make: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 100)
    longest = b'{"a": "%b"}' % (b"x" * 92)
    assert len(longest) == 101

    _, found = read(make % (longest, b'{"b": "%b"}' % (b"y" * 91)))

    assert [number for number, _, _ in told(found)] == [1]
    assert found[1].value == {"b": "y" * 91}


@pytest.mark.parametrize("lines", [b"[" + b"[]" * 100_000, b'["' + rb"\"" * 200_000 + b'"]'])
def test_other_work_goes_on_while_a_file_of_nothing_but_marks_is_read(lines: bytes) -> None:
    async def work() -> int:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        with pytest.raises(RequestRefused):
            await FileSource.open(io.BytesIO(b'{"requests": ' + lines))
        task.cancel()
        return turns

    assert asyncio.run(work()) >= 190
