"""Schemathesis over the whole of /openapi.json on a real socket: all phases, one seed, all checks.

Its program runs as a user would run it. Each check that is switched off, and for which operations,
is named below with its reason; `test_schemathesis.py` compares answers with their shapes strictly.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psycopg
import pytest

from api.dialects import DIALECTS
from tests.conftest import Simulator
from tests.integration.api.processes import KEY, Server, serving

SEED: Final = 20_261_122
#: Requests that each phase makes up for one operation, beside those that cover its document.
EXAMPLES: Final = 5
LAYER: Final = "/layer/v3/video"

#: Checks that are switched off for every operation, each with its reason.
OFF: Final[Mapping[str, str]] = {
    "positive_data_acceptance": (
        "what fits the schema may be refused all the same: which values a model makes is the "
        "catalogue's, and that a picture's content is one, that two fields exclude each other or "
        "that a key was used with another body can't be said in JSON Schema; "
        "test_openapi.py shows that the documents' examples are accepted"
    ),
}
#: Checks that are switched off for the dialects alone, each with its reason.
OFF_FOR_DIALECTS: Final[Mapping[str, str]] = {
    "negative_data_rejection": (
        "dialects read as their systems do: null is a field that is not set, and fields and "
        "headers that a model's own schema does not have are ignored, whatever is in them; "
        "test_hostile_bodies.py sends them values that no field takes"
    ),
}
#: What no operation's document has: it is kept out of the first run, with its reason.
APART: Final[Mapping[str, str]] = {
    LAYER: (
        "it answers when its videos are done, and nobody makes any here: it has a run of its own, "
        "in which there are no gates, so that none of its requests is accepted and waited for"
    ),
}


@pytest.fixture
def server(
    database_url: str, valkey_url: str, simulator: Simulator, tmp_path: Path
) -> Iterator[Server]:
    """The API with credentials of all providers, none of which it calls, and an admin's key."""
    with psycopg.connect(database_url) as connection:
        connection.execute("INSERT INTO tenant (id) VALUES ('acme')")
        connection.execute(
            "INSERT INTO api_key (id, tenant, hash, prefix, is_admin) "
            "VALUES ('key_1', 'acme', sha256(%s::bytea), 'lt_aaaaaa', true)",
            (KEY.encode(),),
        )
    own = {**simulator.env, "LONGTAKE_INVALID_KEYS_PER_MINUTE": "1000000"}  # many are sent here
    with serving(database_url, valkey_url, tmp_path, files=None, **own) as started:
        yield started


def _configuration() -> str:
    prefixes = "|".join(re.escape(prefix) for each in DIALECTS for prefix in each.prefixes)
    return "\n".join(
        (
            "max-stream-events = 1  # the streams themselves have no end",
            *(f"checks.{name}.enabled = false" for name in OFF),
            "[[operations]]",
            f"include-path-regex = {json.dumps(f'^({prefixes})(/|$)')}",
            *(f"checks.{name}.enabled = false" for name in (*OFF, *OFF_FOR_DIALECTS)),
        )
    )


def _run(server: Server, folder: Path, *arguments: str) -> str:
    """What the program prints; fails with it unless no check failed."""
    (folder / "schemathesis.toml").write_text(_configuration())
    command = (
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {KEY}"),
        # As from another machine, for /metrics is open to this one.
        *("--header", "X-Forwarded-For: 198.51.100.1"),
        *("--seed", str(SEED), "--max-examples", str(EXAMPLES), "--no-shrink"),
        *("--request-timeout", "30", "--continue-on-failure", *arguments),
    )
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=420, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_no_request_of_the_document_is_answered_otherwise_than_it_says(
    server: Server, tmp_path: Path
) -> None:
    apart = [argument for path in APART for argument in ("--exclude-path", path)]

    told = _run(server, tmp_path, *apart)

    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"✅ +{phase}", told), told
    match = re.search(r"Selected: (\d+)/(\d+)", told)
    assert match is not None, told
    assert int(match[1]) == int(match[2]) - len(APART)
    log = server.log.read_text()
    assert "request.failed" not in log


def test_layers_open_call_without_a_gate(server: Server, tmp_path: Path) -> None:
    told = _run(server, tmp_path, "--include-path", LAYER)

    assert "Selected: 1/" in told
    assert "request.failed" not in server.log.read_text()
