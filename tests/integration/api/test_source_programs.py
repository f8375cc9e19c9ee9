"""The programs of the five systems' documents, run as they stand, complete or see their errors.

The documents are not in this repository: where `tests.integration.api.documents` finds no folder
of them, this module has no tests. `test_*_programs.py` have programs of our own that send the same
fields, and always run. Of a document's program only the host, the key, the gate, elided pictures
and waits are replaced; what else is mended is said where it happens.
"""

import ast
import json
import re
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.gate import GateRequest, Strategy
from tasks import gates
from tests.conformance.driving import LUNOS_CLIENT, node
from tests.conftest import Simulator
from tests.integration.api.documents import FOLDER, Block, bare, document, fenced, numbered
from tests.integration.api.pictures import JPEG, pictures
from tests.integration.api.serving import Longtake, ran, serving
from tests.integration.engine.waiting import until

__test__ = FOLDER.is_dir()
pytestmark = pytest.mark.anyio
PROGRAMS = Path(__file__).with_name("programs")
SUFFIXES = {"node": ".mjs", "python": ".py"}
ENDED = {"complete", "completed", "failed", "error"}


class Running:
    """A Longtake that serves, and a folder for programs that call it."""

    def __init__(self, longtake: Longtake, folder: Path) -> None:
        self.longtake, self.folder = longtake, folder
        self.http = httpx.AsyncClient(
            base_url=longtake.url,
            headers={"Authorization": f"Bearer {longtake.key}"},
            trust_env=False,
            timeout=60,
        )

    async def output(self, block: Block, changes: Mapping[str, str]) -> str:
        """What a program prints, errors first: it must exit well."""
        code = block.told(changes).code
        if block.language == "shell":
            return await ran("sh", "-ec", code.replace("curl ", "curl -s "))
        path = self.folder / f"program{SUFFIXES[block.language]}"
        path.write_text(code)
        interpreter = str(node()) if block.language == "node" else sys.executable
        return await ran("sh", "-c", f'exec "{interpreter}" "{path}" 2>&1')

    async def ended(self, path: str) -> dict[str, Any]:
        shown: dict[str, Any] = {}

        async def is_final() -> bool:
            shown.clear()
            shown.update((await self.http.get(path)).json())
            return shown["status"] in ENDED

        await until(is_final, within=180)
        return shown

    async def is_video(self, url: str) -> bool:
        answer = await self.http.get(url, headers={"Authorization": ""})
        return (answer.status_code, answer.headers["Content-Type"]) == (200, "video/mp4")


@asynccontextmanager
async def running(
    database_url: str, tmp_path: Path, environment: Mapping[str, str]
) -> AsyncIterator[Running]:
    folder = tmp_path / "programs"
    folder.mkdir(exist_ok=True)
    async with serving(database_url, tmp_path / "data", environment) as longtake:
        one = Running(longtake, folder)
        async with one.http:
            yield one


@pytest.fixture
async def run(
    database_url: str, tmp_path: Path, simulator: Simulator, anyio_backend: str
) -> AsyncIterator[Running]:
    (tmp_path / "data").mkdir()
    async with running(database_url, tmp_path, simulator.env) as one:
        yield one


def of(blocks: list[Block], language: str) -> list[Block]:
    found = [block for block in blocks if block.language == language]
    assert found, f"the document has no {language}"
    return found


def values(blocks: list[Block]) -> list[dict[str, Any]]:
    return [json.loads(block.code) for block in of(blocks, "json")]


# --- Layer -------------------------------------------------------------------------------------


#: A gate for calls with references, which few models take, and one for the others.
GATES = (("clips", "runway-gen3", "kling-3"), ("people", "veo-3", "luma"))


async def test_layers_calls_all_complete(
    database_url: str, tmp_path: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call at once, each in a function of its own, and the bare objects as its `data`."""
    blocks = bare(document(0))
    (tmp_path / "data").mkdir()
    async with (
        pictures(monkeypatch) as asked,
        running(database_url, tmp_path, simulator.env) as run,
    ):
        for name, model, other in GATES:
            strategy = Strategy.FALLBACK
            gate = GateRequest(name=name, model=model, fallback_models=(other,), strategy=strategy)
            await gates.create(run.longtake.engine, gate, tenant="acme")
        calls = [_layer_call(block) for block in blocks if block.language != "interface"]
        told = json.loads(await run.output(Block("node", _layer_program(calls, run.longtake)), {}))
        responses = [response for one in told for response in one["responses"]]
        links = [video["url"] for response in responses for video in response["videos"]]
        are_videos = [await run.is_video(link) for link in links]

    assert [one["thrown"] for one in told] == [None] * len(calls), told
    assert len(calls) == 26
    assert len(responses) == len(calls) + 2  # one of them makes three calls
    assert len(links) == len(responses) + 2  # and one asks for three videos
    assert all(are_videos)
    whole, video = of(blocks, "interface")
    for response in responses:
        assert _always(whole) <= response.keys()
        assert response["cost"] > 0
        assert {"url", "duration"} <= response["videos"][0].keys() & _named(video)
    lines = [line for one in told for line in one["lines"]]
    assert sum(line.startswith("Video ") for line in lines) == 3
    assert sum(" -> http" in line for line in lines) == 3
    assert sum(bool(re.search(r"\$ ?\d\.\d{4}", line)) for line in lines) == 2
    assert not [line for line in lines if line.startswith("ERROR")]
    names = ("person", "forest-style", "art-style")
    assert sorted(asked) == sorted(f"example.com/{name}.jpg" for name in names)


def _layer_call(block: Block) -> str:
    code = block.code.replace("https://example.com/", "http://example.com/")
    code = re.sub(r"(;base64,)[^']*\.\.\.'", rf"\g<1>{b64encode(JPEG).decode()}'", code)
    if block.language == "object":
        code = f"await layer.video({{ gateId: 'your-gate-id', data:\n{code}}});"
    gate = "people" if "referenceImages" in code else "clips"
    return code.replace("your-gate-id", gate)


def _layer_program(calls: list[str], longtake: Longtake) -> str:
    settings = json.dumps({"apiKey": longtake.key, "baseUrl": f"{longtake.url}/layer"})
    functions = ",\n".join(f"async (layer, console) => {{\n{code}\n}}" for code in calls)
    return f"""
import {{ Layer }} from {json.dumps((PROGRAMS / "layer_client.mjs").as_uri())};
const real = new Layer({settings});
const told = await Promise.all([{functions}].map(async (call) => {{
  const one = {{ lines: [], responses: [], thrown: null }};
  const layer = {{ video: async (payload) => {{
    const response = await real.video(payload);
    one.responses.push(response);
    return response;
  }} }};
  const log = (...all) => one.lines.push(all.join(" "));
  try {{
    await call(layer, {{ log, error: (...all) => log("ERROR", ...all) }});
  }} catch (error) {{
    one.thrown = error.message;
  }}
  return one;
}}));
console.log(JSON.stringify(told));
"""


def _named(interface: Block) -> set[str]:
    return set(re.findall(r"^(\w+) \??:", interface.code, re.MULTILINE))


def _always(interface: Block) -> set[str]:
    return set(re.findall(r"^(\w+) :", interface.code, re.MULTILINE))


# --- Imagineo ----------------------------------------------------------------------------------

RULE = "Either image_url or source_run_id must be provided, but not both"


_RUN = re.compile(r"\brun_[0-9a-z]{20,}")


def _run(printed: str) -> str:
    found = _RUN.search(printed)
    assert found, printed
    return found[0]


@pytest.mark.parametrize("is_allowed", [False, True])
async def test_imagineos_program_sees_the_rule_and_begins_runs_from_pictures_and_runs(
    database_url: str, tmp_path: Path, simulator: Simulator, *, is_allowed: bool
) -> None:
    """As it stands it breaks its own document's rule; its comment says what to add."""
    (program,) = bare(document(1))
    (picture,) = re.findall(r"// image_url: .*", program.code)
    client = json.dumps((PROGRAMS / "imagineo_client.mjs").as_uri())
    setting = {"LONGTAKE_IMAGINEO_TEXT_TO_VIDEO": str(is_allowed).lower()}
    (tmp_path / "data").mkdir()
    async with running(database_url, tmp_path, {**simulator.env, **setting}) as run:
        own = {
            'from "@imagineoai/javascript-sdk"': f"from {client}",
            'auth: { apiKey: "YOUR_API_KEY" }': (
                f'auth: {{ apiKey: "{run.longtake.key}" }}, baseUrl: "{run.longtake.url}/imagineo"'
            ),
        }
        printed = await run.output(program, own)
        from_picture = await run.output(program, own | {picture: picture.removeprefix("// ")})
        first = _run(from_picture)
        done = await run.ended(f"/imagineo/v1/runs/{first}")
        from_run = await run.output(program, own | {picture: f'source_run_id: "{first}"'})
        second = _run(from_run)
        after = await run.ended(f"/imagineo/v1/runs/{second}")

        assert RULE in document(1)
        assert (RULE in printed) is not is_allowed
        assert (_RUN.search(printed) is not None) is is_allowed
        for ended in (done, after):
            assert ended["status"] == "completed", ended
            assert await run.is_video(ended["video_url"])
            assert (ended["input"]["duration"], ended["input"]["aspect_ratio"]) == (5, "16:9")


# --- Perf --------------------------------------------------------------------------------------

PERF = "/perf/v1/video/generations"


async def test_perfs_programs_complete(run: Running) -> None:
    blocks = fenced(document(2))
    own = {
        "https://api.withperf.pro": f"{run.longtake.url}/perf",
        "pk_live_abc123": run.longtake.key,
    }
    create, read = of(blocks, "shell")
    wanted = {value["status"]: value for value in values(blocks) if "status" in value}

    created = json.loads(await run.output(create, own))
    assert created.keys() == wanted["pending"].keys()
    assert created["prompt"] == wanted["pending"]["prompt"]
    unknown = json.loads(await run.output(read, own))
    done = await run.ended(f"{PERF}/{created['id']}")
    shown = json.loads(await run.output(read, own | {"job_vid_abc123": created["id"]}))
    for value in (done, shown):
        assert {**wanted["complete"], "perf": value["perf"]}.keys() == shown.keys()
        assert value["status"] == "complete"
        assert value["perf"].keys() == wanted["complete"]["perf"].keys()
    assert value["perf"]["request_id"] == created["perf"]["request_id"]
    (gone,) = [
        each["error"] for each in values(blocks) if each.get("error", {}).get("type") == "not_found"
    ]
    assert gone.items() <= unknown["error"].items()

    for language, name in (("node", "5000"), ("python", "time.sleep(5)")):
        submits, polls = of(blocks, language)
        output = await run.output(submits, own)
        (job,) = re.findall(r"job_vid_\w+", output)
        assert (await run.ended(f"{PERF}/{job}"))["status"] == "complete"
        output = await run.output(polls, own | {name: name.replace("5", "0.05", 1)})
        (link,) = re.findall(r"http\S+", output)
        assert await run.is_video(link)


async def test_perfs_bodies_have_the_documents_answers(run: Running) -> None:
    """The bodies that are prompts alone are taken, and the errors are those that are printed."""
    bodies = values(fenced(document(2)))
    prompts = [body for body in bodies if body.keys() == {"prompt"}]
    failed, *_ = [body for body in bodies if body.get("status") == "failed"]
    missing, long, _ = [body["error"] for body in bodies if "error" in body]

    for body in prompts:
        assert (await run.http.post(PERF, json=body)).status_code == 202
    refused = (await run.http.post(PERF, json={})).json()["error"]
    too_long = (await run.http.post(PERF, json={**prompts[0], "duration_seconds": 600})).json()
    bad = (await run.http.post(PERF, json={"prompt": "[sim:moderate] no"})).json()["id"]
    ended = await run.ended(f"{PERF}/{bad}")

    assert len(prompts) == 3
    assert missing.items() <= refused.items()
    # our route makes another maximum
    here = re.sub(r"of \d+", "of 16", too_long["error"]["message"])
    assert {**too_long["error"], "message": here}.items() >= long.items()
    assert ended.keys() == failed.keys()
    assert ended["error_message"] == failed["error_message"]


# --- AI/ML API ---------------------------------------------------------------------------------

AIMLAPI = "/v2/generate/video/runway/generation"


@pytest.mark.parametrize("prefix", ["", "/aimlapi"])
async def test_aimlapis_programs_complete(run: Running, prefix: str) -> None:
    blocks = fenced(document(3))
    own = {"https://api.aimlapi.com": run.longtake.url + prefix, "my_key": run.longtake.key}

    for language in ("node", "python"):
        (program,) = of(blocks, language)
        output = await run.output(program, own)
        (told,) = re.findall(r"\{.*\}", output, re.DOTALL)
        generation = ast.literal_eval(re.sub(r"(\w+): '", r"'\1': '", told))
        assert generation["status"] == "queued"
        ended = await run.ended(f"{prefix}{AIMLAPI}?generation_id={generation['id']}")
        assert (ended["status"], ended["id"]) == ("completed", generation["id"])
        (link,) = ended["video"]
        assert await run.is_video(link)


# --- Lunos -------------------------------------------------------------------------------------

LUNOS = "/lunos/v1/video/generations"
SAMPLE = "video-op:user123:1703123456789"


async def test_lunos_programs_complete(run: Running) -> None:
    blocks = numbered(document(4))
    own = {"http://localhost:8787": f"{run.longtake.url}/lunos", "YOUR_API_KEY": run.longtake.key}
    wanted = {tuple(value): value for value in values(blocks)}
    (shell,) = of(blocks, "shell")

    first, second = shell.code.split("\n\n")
    create, read = Block("shell", first), Block("shell", second)
    started = json.loads(await run.output(create, own))
    assert tuple(started) in wanted
    assert "error" in json.loads(await run.output(read, own))
    done = await run.ended(f"{LUNOS}/{started['id']}")
    shown = json.loads(await run.output(read, own | {SAMPLE: started["id"]}))
    assert tuple(shown) == tuple(done) == ("id", "status", "video_url")
    assert tuple(shown) in wanted

    plain, _ = of(blocks, "node")
    (python,) = of(blocks, "python")
    for program, wait in ((plain, "10000"), (python, "sleep(10)")):
        output = await run.output(program, own | {wait: wait.replace("10", "0.05", 1)})
        assert "video-op:" in output
        (link,) = re.findall(r"http\S+", output)
        assert await run.is_video(link)


async def test_lunos_program_with_its_client_completes(run: Running) -> None:
    """Its second half declares a name again, so it is a scope of its own."""
    _, program = of(numbered(document(4)), "node")
    first, again, second = program.code.rpartition("const response")
    program = Block("node", f"{first}{{ {again}{second} }}\n")
    (run.folder / "node_modules").symlink_to(LUNOS_CLIENT.home / "node_modules")
    address = f"baseUrl: '{run.longtake.url}/lunos'"
    own = {"apiKey: 'YOUR_API_KEY',": f"apiKey: '{run.longtake.key}', {address},", "10000": "50"}

    output = await run.output(program, own)

    assert "video-op:" in output
    assert "pending" in output
    *_, link = re.findall(r"http\S+", output)
    assert await run.is_video(link)
    sql = "SELECT app_id FROM job ORDER BY id"
    apps = [row["app_id"] for row in await run.longtake.engine.database.fetch(sql)]
    assert apps == ["my-video-app", *["your-app-id"] * 4]


async def test_lunos_errors_are_the_documents(run: Running) -> None:
    missing, _, unknown, _ = [body for body in values(numbered(document(4))) if "error" in body]

    answers = [
        await run.http.post(LUNOS, json={"prompt": "a lion"}),
        await run.http.post(LUNOS, json={"prompt": "a lion", "model": "google/veo-4"}),
    ]

    assert [answer.json() for answer in answers] == [missing, unknown]
