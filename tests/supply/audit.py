"""Asks pip-audit for known vulnerabilities of what the lock pins: `make audit`.

Its service may be out of reach: then "not checked" is printed, and never that nothing was found.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.supply.lock import LOCK

#: Of the environment, run without installing it: `uv` fetches it from the package index.
PROGRAM = (str(Path(sys.executable).with_name("uv")), "tool", "run", "--quiet", "pip-audit")
#: How long it may take, in seconds.
BOUND = 600


def audit(program: Sequence[str] = PROGRAM) -> int:
    """Print what is known; 1 if there is a vulnerability, else 0."""
    options = ("--requirement", str(LOCK), "--require-hashes", "--disable-pip", "--format", "json")
    try:
        answer = subprocess.run(
            [*program, *options], check=False, capture_output=True, text=True, timeout=BOUND
        )
        found = _vulnerable(answer.stdout)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _not_checked(str(error))
    except (ValueError, KeyError, TypeError):
        return _not_checked((answer.stderr.strip().splitlines() or ["no answer"])[-1])
    for line in found:
        print(line)  # noqa: T201 - a command
    print(f"checked: {len(found)} known vulnerabilities")  # noqa: T201
    return 1 if found else 0


def _vulnerable(answer: str) -> list[str]:
    packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    return [
        f"{package['name']} {package['version']}: {one['id']}, fixed in "
        f"{', '.join(one['fix_versions']) or 'no version'}"
        for package in packages
        for one in package.get("vulns", ())
    ]


def _not_checked(why: str) -> int:
    print(f"not checked: {why}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(audit())
