"""Writes `longtake/_sync` from `longtake/_async`, token by token; `--check` only compares."""

import argparse
import io
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent / "longtake"
#: Words that go, and the space after them.
DROPPED = {"async", "await"}
#: Words that have another name; any other `Async…` and `async_…` loses its beginning.
RENAMED = {
    "_async": "_sync",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
}
NOTE = "# Generated from {source} by client/make_sync.py; change that, and run it.\n"


def made(source: str) -> str:
    """The sync twin of a module's text."""
    lines = source.splitlines(keepends=True)
    for token in reversed(list(_words(source))):
        (row, begin), (_, end) = token.start, token.end
        line = lines[row - 1]
        after = line[end:]
        if token.string in DROPPED:
            new, after = "", after.removeprefix(" ")
        else:
            new = _renamed(token.string)
        lines[row - 1] = line[:begin] + new + after
    return "".join(lines)


def _words(source: str) -> Iterator[tokenize.TokenInfo]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return (token for token in tokens if token.type == tokenize.NAME)


def _renamed(word: str) -> str:
    if word in RENAMED:
        return RENAMED[word]
    return word.removeprefix("Async").removeprefix("async_") or word


def twins() -> Iterator[tuple[Path, str]]:
    """The path and the text of each generated module."""
    for path in sorted((PACKAGE / "_async").glob("*.py")):
        source = path.relative_to(PACKAGE.parent).as_posix()
        yield PACKAGE / "_sync" / path.name, NOTE.format(source=source) + made(path.read_text())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one differs")
    only_check = parser.parse_args().check
    stale = [path for path, text in twins() if not path.exists() or path.read_text() != text]
    for path, text in twins():
        if path in stale and not only_check:
            path.write_text(text)
    for path in stale:
        print(f"{path.name} {'differs from' if only_check else 'written from'} its source")
    return int(only_check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
