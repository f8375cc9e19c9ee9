"""Every relative link in the documents points to an existing file and heading."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    each
    for pattern in ("*.md", "docs/**/*.md", "client/*.md", "examples/**/*.md")
    for each in ROOT.glob(pattern)
)
CODE = re.compile(r"```.*?```", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(document: Path) -> set[str]:
    """The names that GitHub gives a document's headings."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


def dead_links(document: Path) -> list[str]:
    dead = []
    for link in LINK.findall(CODE.sub("", document.read_text())):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = document.parent / path if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


def test_the_documents_are_found() -> None:
    names = {each.relative_to(ROOT).as_posix() for each in DOCUMENTS}

    assert {"README.md", "docs/gates.md", "docs/runbooks/NoBeat.md", "client/README.md"} <= names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: each.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    assert dead_links(document) == []


def test_a_link_to_no_file_or_no_heading_is_dead(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text("# One\n[a](page.md#one) [b](page.md#two) [c](none.md) [d](#one)\n")

    assert dead_links(document) == ["page.md#two", "none.md"]
