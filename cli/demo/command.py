"""The demo: start a private stack, submit prompts, collect videos, verify the results."""

import asyncio
import secrets
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import httpx
import typer

from cli import show
from cli.api import Api, Json
from cli.demo import systems
from cli.demo.board import board
from cli.demo.films import bring
from cli.demo.gate import gate_shot, prepare
from cli.demo.looks import End, ends, looks
from cli.demo.receiver import receiving
from cli.demo.shots import Shot, plan
from cli.demo.summary import sum_up
from cli.demo.systems import Run
from cli.demo.verdict import Outcome, claims
from cli.errors import CommandError, ExitCode, JobFailed, Refused
from cli.stopping import stopped_by_signals
from cli.waiting import FINAL, LOOK
from models import budgets
from models.budgets import Balance
from models.database import Connection, Database
from models.rows.money import EntryRow
from providers.registry import names_credentials
from settings import environment
from stack.errors import StackError
from stack.folder import Folder
from stack.servers.server import tail
from stack.stack import Stack, running
from transport.base import TransportError

#: Timeouts after the stack is up, in seconds: the whole run, and the last webhook.
BOUND, WEBHOOK_BOUND = 150.0, 20.0
#: Maximum jobs beside the gate's and the programs': what one page of the API's list can show, and
#: as many as there are prompts.
MOST_JOBS = 88
#: Whose jobs they are, and more entries than they have in the ledger.
TENANT, MOST_ENTRIES = "default", 10_000
#: Settings that the demo takes from the environment.
COMPARED = ("LONGTAKE_RESIDENT_POLLS", "LONGTAKE_POLL_DELAY_SECONDS")


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Local stack")(demo)


def demo(
    jobs: Annotated[int, typer.Option(min=1, max=MOST_JOBS, help="How many prompts.")] = 24,
) -> None:
    """Run real prompts through every model, end to end, and verify every promise.

    Starts and stops its own servers, workers, API and vendor simulator. Costs nothing; no data
    leaves this machine. Exits 0 only if every check passes.
    """
    place = Place.make()
    try:
        held = asyncio.run(_demo(place, jobs))
    except (CommandError, StackError, TransportError, TimeoutError) as error:
        place.show_logs()
        if isinstance(error, TimeoutError):
            raise JobFailed(f"the demo did not finish within {BOUND:.0f} s") from error
        raise
    except asyncio.CancelledError:
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    finally:
        place.clear()
    if not held:
        place.show_logs()
        raise typer.Exit(ExitCode.JOB_FAILED)


async def _demo(place: "Place", wanted: int) -> bool:
    secret = f"whsec_{secrets.token_hex(16)}"
    with stopped_by_signals(lambda: show.say("Stopping …")) as stop:
        async with (
            receiving(secret) as receiver,
            running(
                _own_environment(place), simulate=True, tell=show.say, hurry=stop.hurry
            ) as stack,
        ):
            _greet(stack)
            began = time.monotonic()
            async with asyncio.timeout(BOUND):
                with Api(stack.api_url, stack.api_key) as api:
                    models = await asyncio.to_thread(api.models)
                    webhook = {"webhook_url": receiver.url, "webhook_secret": secret}
                    shots = plan(models, wanted=wanted, webhook=webhook)
                    shots.append(gate_shot(len(shots) + 1, webhook=webhook))
                    await asyncio.to_thread(
                        prepare, api, shots[-1], simulator_url=str(stack.simulator_url)
                    )
                    async with systems.running(
                        number=len(shots) + 1,
                        url=stack.api_url,
                        key=stack.api_key,
                        folder=place.folder,
                    ) as programs:
                        submitted = await _submit(api, shots)
                        jobs = await _until_final(api, shots, submitted, programs)
                        runs = [await program for program in programs]
                    took = time.monotonic() - began
                    await receiver.heard_of((job["id"] for job in jobs), bound=WEBHOOK_BOUND)
                    films = await bring(api, shots, jobs, place.folder)
                    runs = await _from_inside(api, runs)
                bill = await _told(stack, "bill")
                polled = await _told(stack, "polls")
                balance, statement, known = await _known(stack)
        seen = Outcome(
            shots=shots,
            jobs=jobs,
            films=films,
            runs=runs,
            receipts=receiver.receipts,
            bill=bill,
            balance=balance,
            statement=statement,
            looks=looks(polled, known),
        )
        return sum_up(seen, claims(seen), took=took, folder=place.folder)


@dataclass(frozen=True, slots=True)
class Place:
    """One demo's folder; videos and logs are kept, server data is removed."""

    folder: Path

    @classmethod
    def make(cls) -> "Place":
        """Create a folder beside the stack's data; raises Refused if that fails."""
        parent = Path(environment().get("LONGTAKE_DATA_DIR") or ".longtake").resolve()
        for number in range(1, 10_000):
            try:
                (parent / f"demo-{number}").mkdir(parents=True)
            except FileExistsError:
                continue
            except OSError as error:
                raise Refused(f"cannot create {parent}: {error.strerror}") from error
            return cls(parent / f"demo-{number}")
        raise Refused(f"too many demo folders in {parent}; remove some")

    @property
    def stack(self) -> Path:
        return self.folder / "stack"

    def clear(self) -> None:
        """Move the logs up and remove the stack's data."""
        if (self.stack / "logs").exists():
            shutil.move(self.stack / "logs", self.folder / "logs")
        Folder(self.stack).discard()

    def show_logs(self) -> None:
        logs = self.folder / "logs" if (self.folder / "logs").exists() else self.stack / "logs"
        for log in sorted(logs.glob("*.log")):
            show.say(f"\n{log}\n{tail(log)}")


def _own_environment(place: Place) -> dict[str, str]:
    """Our environment without vendor credentials, so nothing is charged, and without most settings.

    Only those that choose the way of polling are kept, so that two ways can be compared.
    """
    kept = {
        name: value
        for name, value in environment().items()
        if name in COMPARED or not (name.startswith("LONGTAKE_") or names_credentials(name))
    }
    ports = ("LONGTAKE_API_PORT", "LONGTAKE_FLOWER_PORT", "LONGTAKE_SIM_PORT")
    return {**kept, **dict.fromkeys(ports, "0"), "LONGTAKE_DATA_DIR": str(place.stack)}


async def _submit(api: Api, shots: Sequence[Shot]) -> list[str]:
    """Submit all; returns the job ids in the order of the shots."""
    accepted = await asyncio.gather(
        *(asyncio.to_thread(api.submit, shot.body, app_id="demo") for shot in shots)
    )
    return [job["id"] for job in accepted]


async def _until_final(
    api: Api, shots: Sequence[Shot], ids: Sequence[str], programs: Sequence[asyncio.Task[Run]]
) -> list[Json]:
    """Wait, showing progress, until all jobs are final and all programs have ended.

    Returns the jobs in the order of the shots.
    """
    with board(shots) as shown:
        while True:
            page = await asyncio.to_thread(lambda: api.jobs(app_id="demo", limit=100))
            jobs = {job["id"]: job for job in page["data"]}
            found = [jobs[job_id] for job_id in ids]
            ended = sum(program.done() for program in programs)
            shown.show(found, f"{ended} of {len(programs)} other systems' programs ended")
            if ended == len(programs) and all(job["status"] in FINAL for job in found):
                return found
            await asyncio.sleep(LOOK)


async def _from_inside(api: Api, runs: Sequence[Run]) -> list[Run]:
    """The programs' runs with the jobs that they made, as our own API shows them."""
    page = await asyncio.to_thread(lambda: api.jobs(limit=100))
    return [await asyncio.to_thread(run.seen_from_inside, page["data"]) for run in runs]


async def _told(stack: Stack, what: str) -> list[Json]:
    """A list from the simulator's control API."""
    async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
        answer = await client.get(f"{stack.simulator_url}/_sim/{what}")
    rows: list[Json] = answer.raise_for_status().json()["data"]
    return rows


async def _known(stack: Stack) -> tuple[Balance, list[EntryRow], list[End]]:
    """The balance of the demo's tenant, its statement, and the ends of operations."""

    async def work(connection: Connection) -> tuple[Balance, list[EntryRow], list[End]]:
        (balance,) = await budgets.balances(connection, TENANT)
        entries = await budgets.statement(connection, TENANT, since=None, limit=MOST_ENTRIES)
        return balance, entries, await ends(connection)

    database = Database(stack.settings.require_database(), connections=1)
    try:
        return await database.run(work)
    finally:
        await database.close()


def _greet(stack: Stack) -> None:
    show.say(f"\n  API       {stack.api_url}")
    show.say(f"  Flower    {stack.flower_url}")
    show.say(f"  Simulator {stack.simulator_url}\n")
