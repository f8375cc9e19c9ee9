"""The code blocks of other systems' documents, found and mended so that they run.

The documents are not in this repository. They are looked for in the folder that SOURCE_DOCUMENTS
names, or else in `shared/seeds` beside the repository.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[3]
FOLDER = Path(os.environ.get("SOURCE_DOCUMENTS") or ROOT.parent / "shared/seeds")

_FENCED = re.compile(r"^```(\w+)?[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMES = {"bash": "shell", "javascript": "node", "python": "python", "json": "json"}
#: What begins a block where nothing marks it, and what can stand in one between two statements.
_BEGINS = re.compile(r"(const|import|interface|try) |\{$|// Good|// Less")
_GOES_ON = re.compile(r"//|.*[;{}\[(,]( //.*)?$|$")
_BEGINS_ANEW = re.compile(r"const response |interface |\{$")
#: Strings and comments, in which brackets are text.
_TEXT = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|//.*|#.*""")


@dataclass(frozen=True, slots=True)
class Block:
    """A program, a JSON value or an interface, as it stands in a document."""

    #: node, python, shell, json, interface, object (of JavaScript) or text.
    language: str
    code: str

    def told(self, changes: Mapping[str, str]) -> Self:
        """With other texts in place of some of it; each must be there."""
        code = self.code
        for old, new in changes.items():
            assert old in code, f"{old!r} is not in this block:\n{code}"
            code = code.replace(old, new)
        return replace(self, code=code)


def document(number: int) -> str:
    """The text of the document whose file name begins with this number."""
    (path,) = FOLDER.glob(f"{number:03}_*.txt")
    return path.read_text(encoding="utf-8")


def fenced(text: str) -> list[Block]:
    """The blocks between the fences of Markdown."""
    return [Block(_NAMES.get(name, "text"), code) for name, code in _FENCED.findall(text)]


def numbered(text: str) -> list[Block]:
    """Blocks whose lines begin with their numbers; Python's lost indentation is put back."""
    blocks = []
    for lines in _counted(text.splitlines()):
        code = "\n".join(lines) + "\n"
        language = _language(lines)
        blocks.append(Block(language, indented(code) if language == "python" else code))
    return blocks


def bare(text: str) -> list[Block]:
    """Blocks of JavaScript among sentences, with nothing that marks them."""
    blocks: list[list[str]] = []
    depth, is_inside = 0, False
    for line in text.splitlines():
        if depth == 0 and is_inside:
            is_inside = bool(_GOES_ON.match(line))
            if is_inside and _BEGINS_ANEW.match(line) and _has_code(blocks[-1]):
                blocks.append([])
        if not is_inside and _BEGINS.match(line):
            is_inside = True
            blocks.append([])
        if is_inside:
            blocks[-1].append(line)
            depth += _opened(line)
    return [Block(_language(lines), "\n".join(lines) + "\n") for lines in blocks]


def indented(code: str) -> str:
    """Python that lost its indentation, with it.

    A colon opens a suite, `else` goes back to its `if`, and a blank line after an `else`'s suite
    ends all suites, as in programs whose last loop branches.
    """
    done, suites, depth = list[str](), list[str](), 0
    for line in code.splitlines():
        if depth == 0 and line == "" and suites and suites[-1] == "else":
            suites.clear()
        if line == "else:":
            while suites.pop() != "if":
                pass
        done.append("    " * len(suites) + line if line else line)
        depth += _opened(line)
        if depth == 0 and line.endswith(":"):
            suites.append(line.split()[0].rstrip(":"))
    return "\n".join(done) + "\n"


def _counted(lines: list[str]) -> Iterator[list[str]]:
    """Runs of lines that begin with 1, 2, 3 and so on, without the numbers."""
    run: list[str] = []
    for line in [*lines, ""]:
        number = str(len(run) + 1)
        if line.startswith(number):
            run.append(line.removeprefix(number).removeprefix(" "))
            continue
        if run:
            yield run
        run = [line.removeprefix("1").removeprefix(" ")] if re.match(r"1\D", line) else []


def _language(lines: list[str]) -> str:
    code = [line for line in lines if line and not line.startswith(("//", "# "))]
    first = code[0]
    if first == "{":
        return "json" if '"' in code[1] else "object"
    if first.startswith("interface "):
        return "interface"
    if first.startswith("curl "):
        return "shell"
    return "python" if first.startswith("import ") and not first.endswith(";") else "node"


def _has_code(lines: list[str]) -> bool:
    return any(not line.startswith("//") for line in lines)


def _opened(line: str) -> int:
    """How many brackets a line leaves open."""
    rest = _TEXT.sub("", line)
    return sum(map(rest.count, "([{")) - sum(map(rest.count, ")]}"))
