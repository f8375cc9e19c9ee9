"""Writes sbom.cdx.json, the software bill of materials, from requirements.lock: `make sbom`."""

import json
import tomllib
from typing import Any

from tests.supply.lock import ROOT, Pinned, read, scopes

FILE = ROOT / "sbom.cdx.json"


def bill(pinned: list[Pinned]) -> dict[str, Any]:
    """The bill in CycloneDX 1.6, without times and serial numbers: the same lock, the same bill."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    itself = f"{project['name']}@{project['version']}"
    scope = scopes(pinned)
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": itself,
                "name": project["name"],
                "version": project["version"],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": each.purl,
                "name": each.name,
                "version": each.version,
                "purl": each.purl,
                "scope": scope[each.name],
            }
            for each in pinned
        ],
        "dependencies": [
            _asks(itself, {by for each in pinned for by in each.via if "(" in by}, pinned),
            *(_asks(each.purl, {each.name}, pinned) for each in pinned),
        ],
    }


def _asks(ref: str, names: set[str], pinned: list[Pinned]) -> dict[str, Any]:
    return {"ref": ref, "dependsOn": [each.purl for each in pinned if each.via & names]}


def text() -> str:
    """The file's content."""
    return json.dumps(bill(read()), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(f"{FILE.name}: {len(read())} components")  # noqa: T201 - a command
