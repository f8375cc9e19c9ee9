"""Terminal recordings: runs a command in a terminal and renders its screens as an animated SVG."""

import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fcntl import ioctl
from html import escape
from itertools import groupby
from typing import Final

import pyte

#: Columns and default lines of the terminal.
COLUMNS, LINES = 108, 34
#: Pixels of a character's cell, around the screen, and of the bar above it.
CELL, LINE, MARGIN, BAR = 8.4, 19, 14, 34
#: Minimum seconds between frames; maximum for an unchanged screen; seconds for the last one.
SHORTEST, LONGEST, LAST = 0.2, 1.0, 5.0
#: Seconds after which a command is stopped.
BOUND = 300.0
_COLOURS: Final = {
    "default": "#d7dae0",
    "black": "#5c6370",
    "red": "#ef6b73",
    "green": "#98c379",
    "brown": "#e5c07b",
    "blue": "#61afef",
    "magenta": "#c678dd",
    "cyan": "#56b6c2",
    "white": "#ffffff",
}
_GROUND: Final = "#1e2127"

#: A run of equal style in a row: first column, text, colour, background and whether it is bold.
Run = tuple[int, str, str, str | None, bool]
Row = tuple[Run, ...]
Screen = tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """A screen, and for how many seconds it is shown."""

    screen: Screen
    seconds: float


def record(
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    lines: int = LINES,
    keys: Iterable[tuple[float, str]] = (),
) -> list[tuple[float, bytes]]:
    """The output of a command on a terminal until it ends, with the seconds since its start.

    `keys` are pressed at the given seconds.
    """
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, COLUMNS, 0, 0))
    began = time.monotonic()
    waiting = list(keys)
    said: list[tuple[float, bytes]] = []
    with subprocess.Popen(
        command,
        env={**env, "TERM": "xterm-256color", "COLORTERM": "truecolor"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        while (passed := time.monotonic() - began) < BOUND:
            if waiting and passed >= waiting[0][0]:
                os.write(ours, waiting.pop(0)[1].encode())
            if not select.select([ours], [], [], 0.05)[0]:
                continue
            try:
                chunk = os.read(ours, 65536)
            except OSError:  # the command has closed the terminal
                break
            said.append((time.monotonic() - began, chunk))
        else:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)
    os.close(ours)
    return said


def frames(
    said: Iterable[tuple[float, bytes]], *, first: str, lines: int = LINES, speed: float = 1.0
) -> list[Frame]:
    """The screens of a recording, below a prompt with the command. Long waits are shortened.

    They are shown `speed` times as fast as they were recorded.
    """
    screen = pyte.Screen(COLUMNS, lines)
    stream = pyte.ByteStream(screen)
    stream.feed(f"\x1b[1m$ {first}\x1b[0m\r\n".encode())
    shown = [(0.0, _screen_of(screen))]
    for seconds, chunk in said:
        stream.feed(chunk)
        now, at = _screen_of(screen), seconds / speed
        if not any(now):  # between two screens of a full-screen program
            continue
        if at - shown[-1][0] < SHORTEST and len(shown) > 1:
            shown[-1] = (shown[-1][0], now)
        elif now != shown[-1][1]:
            shown.append((at, now))
    ends = [at for at, _ in shown[1:]]
    lengths = [min(end - at, LONGEST) for (at, _), end in zip(shown, ends, strict=False)]
    return [
        Frame(each, round(length, 2))
        for (_, each), length in zip(shown, [*lengths, LAST], strict=True)
    ]


def _screen_of(screen: pyte.Screen) -> Screen:
    rows = []
    for line in range(screen.lines):
        cells = [screen.buffer[line][column] for column in range(COLUMNS)]
        runs: list[Run] = []
        column = 0
        for (colour, ground, bold), alike in groupby(cells, key=_look):
            text = "".join(cell.data for cell in alike)
            if text.strip() or ground:
                runs.append((column, text, colour, ground, bold))
            column += len(text)
        rows.append(tuple(runs))
    return tuple(rows)


def _look(cell: pyte.screens.Char) -> tuple[str, str | None, bool]:
    colour = _colour(cell.fg)
    ground = None if cell.bg == "default" else _colour(cell.bg)
    if cell.reverse:
        colour, ground = ground or _GROUND, colour
    return colour, ground, cell.bold


def _colour(name: str) -> str:
    return _COLOURS.get(name.removeprefix("bright")) or f"#{name}"


def svg(film: Sequence[Frame], *, title: str) -> str:
    """The recording as a looping SVG, in which each distinct row is stored once.

    With reduced motion, only the last frame is shown.
    """
    rows = {row: f"r{n}" for n, row in enumerate(dict.fromkeys(_rows(film)))}
    lines = len(film[0].screen)
    width, height = 2 * MARGIN + CELL * COLUMNS, BAR + 2 * MARGIN + LINE * lines
    whole = sum(frame.seconds for frame in film)
    moments, passed = [], 0.0
    for number, frame in enumerate(film):
        moments.append(f"{passed / whole:.3%}{{transform:translateX({-number * width:.1f}px)}}")
        passed += frame.seconds
    last = f"translateX({-(len(film) - 1) * width:.1f}px)"
    strip = "".join(
        f'<g transform="translate({number * width:.1f})">'
        + "".join(
            f'<use href="#{rows[row]}" y="{LINE * line}"/>'
            for line, row in enumerate(frame.screen)
            if row
        )
        + "</g>\n"
        for number, frame in enumerate(film)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.1f} {height}" '
        f'role="img" aria-label="{escape(title)}"><style>'
        "text{font:14px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace;"
        "white-space:pre}.b{font-weight:bold}"
        f".film{{transform:{last}}}"
        f"@keyframes film{{{''.join(moments)}to{{transform:{last}}}}}"
        "@media (prefers-reduced-motion:no-preference)"
        f"{{.film{{animation:film {whole:.2f}s step-end infinite}}}}"
        "</style><defs>"
        + "".join(f'<g id="{id_}">{_drawn(row)}</g>\n' for row, id_ in rows.items())
        + f'</defs><rect width="{width:.1f}" height="{height}" rx="10" fill="{_GROUND}"/>'
        + "".join(
            f'<circle cx="{20 + 20 * n}" cy="20" r="6" fill="{colour}"/>'
            for n, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
        )
        + f'<text x="{width / 2:.1f}" y="25" text-anchor="middle" fill="#9aa0aa">'
        f"{escape(title)}</text>"
        f'<svg x="{MARGIN}" y="{BAR + MARGIN}" width="{CELL * COLUMNS:.1f}" '
        f'height="{LINE * lines}"><g class="film">{strip}</g></svg></svg>\n'
    )


def _rows(film: Sequence[Frame]) -> Iterable[Row]:
    return (row for frame in film for row in frame.screen if row)


def _drawn(row: Row) -> str:
    drawn = []
    for column, text, colour, ground, bold in row:
        x = CELL * column
        if ground:
            drawn.append(
                f'<rect x="{x:.1f}" width="{CELL * len(text):.1f}" height="{LINE}" '
                f'fill="{ground}"/>'
            )
        ink = text.strip(" ")
        if not ink:
            continue
        x += CELL * (len(text) - len(text.lstrip(" ")))
        drawn.append(
            f'<text x="{x:.1f}" y="14" textLength="{CELL * len(ink):.1f}" fill="{colour}"'
            + (' class="b">' if bold else ">")
            + escape(ink, quote=False)
            + "</text>"
        )
    return "".join(drawn)
