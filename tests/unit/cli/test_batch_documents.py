"""Files become batches: each line's number in the file is its number in the batch."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.batches.documents import document
from cli.errors import Refused


def lines(path: Path, **options: Any) -> tuple[dict[int, Any], dict[str, Any]]:
    """The requests by their numbers, and the options."""
    with document(str(path), options) as made:
        raw = made.file.read().split(b"\n")
        first = made.options.get("first_line", 1)
        return {n: json.loads(line) for n, line in enumerate(raw, first) if line.strip()}, dict(
            made.options
        )


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_has_values_of_its_fields_types(tmp_path: Path, delimiter: str) -> None:
    rows = [
        ("custom_id", "prompt", "duration_seconds", "cfg_scale", "audio", "metadata.shop"),
        ("7", '"a fox, red; ""quick"""', "5", "7.5", "TRUE", "north"),
        ("8", "an owl", "", "", "", ""),
    ]
    text = "\r\n".join(delimiter.join(row) for row in rows)

    requests, _ = lines(written(tmp_path, "table.csv", "\ufeff" + text))

    assert requests == {
        2: {
            "custom_id": "7",
            "prompt": 'a fox, red; "quick"',
            "duration_seconds": 5,
            "cfg_scale": 7.5,
            "audio": True,
            "metadata": {"shop": "north"},
        },
        3: {"custom_id": "8", "prompt": "an owl"},
    }


def test_rows_after_newlines_in_quotes_keep_their_lines(tmp_path: Path) -> None:
    text = 'prompt,metadata\n\n"two\nlines","{""a"": [1]}"\nlast,{"b"\n'

    requests, _ = lines(written(tmp_path, "table.csv", text))

    assert requests == {
        3: {"prompt": "two\nlines", "metadata": {"a": [1]}},
        5: {"prompt": "last", "metadata": '{"b"'},  # for the API to refuse, by its line
    }


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("promt\na fox\n", "line 1: 'promt' is not a known column"),
        ("prompt,\na fox,\n", "line 1: '' is not a known column"),
        ("prompt,seed.x\na,1\n", "line 1: 'seed.x' is not a known column"),
        ("prompt,prompt\na,b\n", "line 1: the column 'prompt' is there twice"),
        ("prompt\na\na,b\n", "line 3 has 2 cells, and the header has 1 columns"),
        ('prompt\na\n"b\nc\n', "line 3: unexpected end of data"),
        (b"prompt\na\n\xff\n", "line 3: invalid UTF-8 at byte 1"),
        ("prompt\n" + "x" * (2**20 + 3), "line 2 exceeds the maximum of 1 MB"),
    ],
)
def test_a_crooked_table_is_refused_by_its_line(
    tmp_path: Path, text: str | bytes, told: str
) -> None:
    with pytest.raises(Refused, match=f"^{told.replace('.', '[.]')}"):
        lines(written(tmp_path, "table.csv", text))


def test_each_line_of_text_is_a_prompt(tmp_path: Path) -> None:
    requests, _ = lines(written(tmp_path, "prompts", "[wide] a fox, red\r\n\n  an owl\nprompt"))

    assert requests == {
        1: {"prompt": "[wide] a fox, red"},
        3: {"prompt": "an owl"},
        4: {"prompt": "prompt"},
    }


@pytest.mark.parametrize(
    ("content", "number"),
    [("custom_id;prompt\n1;a fox", 2), ('\n{"prompt": "a fox"}', 2), ("prompt\na fox", 2)],
)
def test_the_first_line_tells_the_form_where_the_name_does_not(
    tmp_path: Path, content: str, number: int
) -> None:
    requests, _ = lines(written(tmp_path, "lines", content))

    assert {at: line["prompt"] for at, line in requests.items()} == {number: "a fox"}


def test_options_that_are_given_win_over_the_files(tmp_path: Path) -> None:
    own = {"batch": {"name": "mine", "on_invalid": "skip", "defaults": {"model": "a", "seed": 1}}}
    path = written(tmp_path, "lines.jsonl", f'\n{json.dumps(own)}\n{{"prompt": "a fox"}}\n')

    requests, options = lines(path, name="given", defaults={"model": "b"})

    assert requests == {3: {"prompt": "a fox"}}
    assert options == {
        "first_line": 3,
        "name": "given",
        "on_invalid": "skip",
        "defaults": {"model": "b", "seed": 1},
    }


@pytest.mark.parametrize("content", ['[{"prompt": "a"}]', '{"requests": [{"prompt": "a"}]}'])
def test_an_array_goes_as_it_is_and_takes_no_options(tmp_path: Path, content: str) -> None:
    path = written(tmp_path, "all.json", content)

    with document(str(path), {}) as made:
        assert made.file.read() == content.encode()
    with pytest.raises(Refused, match="options and --dry-run go with JSON Lines"):
        lines(path, name="given")
