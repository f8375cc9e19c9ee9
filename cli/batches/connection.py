"""The client of the API for batches, whose errors become CommandErrors."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import httpx
from rich.table import Table
from rich.text import Text

from cli.api import HOW_TO_AUTHENTICATE, not_reached
from cli.errors import JobFailed, NotReached, Refused
from cli.options import address
from cli.show import err, say
from longtake import (
    APIError,
    Client,
    ConnectionFailed,
    DownloadCorrupt,
    LineError,
    LongtakeError,
    Unauthorized,
    Unavailable,
    UnreadableAnswer,
)

#: Errors of single lines that are shown.
SHOWN = 20
#: Tries of a request while a batch is watched or downloaded: about a minute without the API.
PATIENT = 12


@contextmanager
def connected(url: str | None, key: str | None, *, max_retries: int = 2) -> Iterator[Client]:
    """A client for the options; raises Refused or NotReached for its errors."""
    url, key = address(url, key)
    if not key:
        raise Refused(f"an API key is needed{HOW_TO_AUTHENTICATE}")
    try:
        # A transport of its own ignores proxies: the API is usually local.
        opened = Client(key, url, max_retries=max_retries, transport=httpx.HTTPTransport())
    except ValueError as error:
        raise Refused(str(error)) from None
    with opened as client:
        try:
            yield client
        except APIError as error:
            raise _refusal(error) from error
        except ConnectionFailed as error:
            raise not_reached(url, error) from error
        except UnreadableAnswer as error:
            raise NotReached(f"{url}: {error}") from error
        except DownloadCorrupt as error:
            raise JobFailed(str(error)) from error
        except LongtakeError as error:
            raise Refused(str(error)) from error


def _refusal(error: APIError) -> Refused | NotReached:
    """The API's refusal; the invalid lines of a batch are printed."""
    show_errors(error.errors, count=error.error_count)
    if isinstance(error, Unauthorized):
        return Refused(error.message + HOW_TO_AUTHENTICATE)
    if isinstance(error, Unavailable) and error.type != "model_unavailable":
        return NotReached(error.message)
    return Refused(error.message)


def show_errors(errors: tuple[LineError, ...], *, count: int) -> None:
    """Print invalid lines as a table to standard error: the first of them, and how many more."""
    if not errors:
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("line", "custom_id", "field", "message"):
        table.add_column(name, no_wrap=name in {"line", "field"}, overflow="fold")
    shown = 0
    for equal in _runs(errors)[:SHOWN]:
        first, last = equal[0], equal[-1]
        lines = str(first.line) if first is last else f"{first.line} to {last.line}"
        custom_id = (first.custom_id or "") if first is last else ""
        table.add_row(lines, *(Text(cell) for cell in (custom_id, *_said(first))))
        shown += len(equal)
    err.print(table)
    if count > shown:
        say(f"and {count - shown} more")


def _runs(errors: Iterable[LineError]) -> list[list[LineError]]:
    """Lines that follow each other and say the same, as after a wrong default: told once."""
    runs: list[list[LineError]] = []
    for error in errors:
        before = runs[-1][-1] if runs else None
        if before is not None and _said(before) == _said(error) and _follows(before, error):
            runs[-1].append(error)
        else:
            runs.append([error])
    return runs


def _follows(before: LineError, error: LineError) -> bool:
    return before.line is not None and error.line == before.line + 1


def _said(error: LineError) -> tuple[str, str]:
    """Field and message."""
    return error.param or "", (error.message or "").removeprefix(f"line {error.line}: ")
