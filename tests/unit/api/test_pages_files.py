"""The files that pages bring along: those of others are unchanged, and none names a host."""

import hashlib
import re
import tomllib
from typing import Any

import pytest

from api.pages.assets import ASSETS, FOLDER
from api.pages.rendering import environment

VENDORED: list[dict[str, Any]] = tomllib.loads((FOLDER / "VENDORED.toml").read_text())["package"]
#: Of our own making.
OURS = {"VENDORED.toml", "mark.svg", "pages.css", "pages.js"}


@pytest.mark.parametrize("package", VENDORED, ids=lambda package: package["name"])
def test_a_package_is_as_it_was_released_and_has_its_licence(package: dict[str, Any]) -> None:
    hashes = dict(package["sha256"])
    for name, expected in hashes.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected, name
    assert package["licence_file"] in hashes
    assert package["version"]
    assert package["licence"]


def test_every_file_is_ours_or_a_packages() -> None:
    listed = {name for package in VENDORED for name in package["sha256"]}
    assert {path.name for path in FOLDER.iterdir()} == OURS | listed


@pytest.mark.parametrize("name", sorted(OURS & ASSETS.keys()))
def test_our_files_and_templates_load_nothing_from_elsewhere(name: str) -> None:
    text = (FOLDER / name).read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|@import|url\(|\beval\b|new Function|innerHTML", text)


@pytest.mark.parametrize("name", environment().list_templates())
def test_a_template_compiles_and_marks_nothing_as_safe(name: str) -> None:
    environment().get_template(name)
    source = (FOLDER.parent / "templates" / name).read_text()
    assert not re.search(r"\|\s*safe\b|autoescape\s+false|https?://|\sstyle=|\son\w+=", source)
