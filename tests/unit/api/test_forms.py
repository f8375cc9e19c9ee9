"""Forms are read as strictly as JSON: cut off, doubled or badly written ones are refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dialects.forms import MAX_PARTS, Upload, parse_form
from models.failure import RequestRefused

TYPE = "multipart/form-data; boundary=XX"


def _form(*parts: tuple[str, bytes], end: bytes = b"--XX--\r\n") -> bytes:
    written = [
        f"--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    ]
    return b"".join(written) + end


def test_text_files_and_inner_fields_are_an_object() -> None:
    content = _form(
        ('name="prompt"', "a cät".encode()),
        ('name="empty"', b""),
        ('name="a[b]"', b"1"),
        ('name="a[c]"', b"2"),
        ('name="input_reference"; filename="a.png"', b"\x89PNG\r\n\x1a\n\x00\xff"),
        ('name="nothing"; filename="b"', b""),
    )

    assert parse_form(content, TYPE) == {
        "prompt": "a cät",
        "empty": "",
        "a": {"b": "1", "c": "2"},
        "input_reference": Upload(b"\x89PNG\r\n\x1a\n\x00\xff"),
        "nothing": Upload(b""),
    }


def test_a_big_file_is_read_whole() -> None:
    picture = b"\x89PNG" * 2**20

    assert parse_form(_form(('name="a"; filename="a"', picture)), TYPE) == {"a": Upload(picture)}


@pytest.mark.parametrize(
    ("content", "kind", "says"),
    [
        (_form(('name="a"', b"1")), "multipart/form-data", "the form has no boundary"),
        (_form(('name="a"', b"1"), end=b""), TYPE, "the form is cut off"),
        (b"", TYPE, "the form is cut off"),
        (_form(('name="a"', b"1"), ('name="a"', b"2")), TYPE, "the form has the field 'a' twice"),
        (
            _form(('name="a"', b"1"), ('name="a[b]"', b"2")),
            TYPE,
            "the form has the field 'a[b]' twice",
        ),
        (
            _form(('name="a[b]"', b"1"), ('name="a"', b"2")),
            TYPE,
            "the form has the field 'a' twice",
        ),
        (
            _form(('name="a[b]"; filename="x"', b"1")),
            TYPE,
            "the form has a file in 'a[b]', which takes text",
        ),
        (
            _form(('name="prompt"', b"a c\xe4t")),
            TYPE,
            "the form is not UTF-8: invalid byte at position 3 of prompt",
        ),
        (b"no boundary first --XX--", TYPE, "the form is malformed"),
        (
            _form(*((f'name="{number}"', b"") for number in range(MAX_PARTS + 1))),
            TYPE,
            f"the form has more than {MAX_PARTS} parts",
        ),
    ],
)
def test_a_form_that_is_wrong_is_refused_with_what_is_wrong(
    content: bytes, kind: str, says: str
) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_form(content, kind)
    assert refused.value.message.startswith(says)
    assert (refused.value.type, refused.value.code) == ("invalid_request", "invalid_form")


@given(
    st.lists(
        st.sampled_from([b"--XX", b"--", b"\r\n", b'Content-Disposition: form-data; name="a"'])
    )
)
def test_whatever_is_sent_is_read_or_refused(pieces: list[bytes]) -> None:
    try:
        found: Any = parse_form(b"".join(pieces) + b"--XX--", TYPE)
    except RequestRefused as refusal:
        found = refusal.type
    assert found == "invalid_request" or isinstance(found, dict)
