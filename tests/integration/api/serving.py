"""A whole Longtake on one loop: the API on a real socket, and pumps that do what is due."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from api.app import create_app
from models.keys import create_key
from models.verbs import What
from settings import load
from tasks.ending import end
from tasks.engine import Engine
from tasks.pump.pump import Pump
from tasks.pump.running import verb_for
from tests.integration.api.conftest import Hints
from tests.integration.engine.waiting import until

_NOW = "UPDATE due SET at = now() WHERE what = %s AND at > now() AND lease IS NULL"
LIFE = (What.PREPARE, What.SUBMIT, What.POLL, What.STORE, What.CANCEL, What.TALLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Longtake:
    """Where it listens, a key of the tenant acme, and what lies behind."""

    url: str
    key: str
    engine: Engine


@asynccontextmanager
async def serving(
    database_url: str, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[Longtake]:
    """It serves and works until the block ends; `environment` has the providers' variables."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        own = {
            "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
            "LONGTAKE_BROKER_URL": "redis://127.0.0.1:9/0",
            "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
            "LONGTAKE_POLL_FLOOR_SECONDS": "0.05",
            "LONGTAKE_PUBLIC_URL": url,
            "LONGTAKE_DATABASE_URL": database_url,
            "LONGTAKE_DATA_DIR": str(folder),
        }
        app = create_app(load({**own, **environment}), hinter=Hints)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, http="h11", ws="none", lifespan="on"
        )
        server = uvicorn.Server(config)
        serves = asyncio.create_task(server.serve(sockets=[listening]))
        await until(lambda: server.started or serves.done(), within=180)
        engine: Engine = app.state.front.engine
        _, key = await engine.database.run(lambda connection: create_key(connection, "acme"))
        works = asyncio.create_task(_work(engine))
        try:
            yield Longtake(url=url, key=key, engine=engine)
        finally:
            await end(works)
            server.should_exit = True
            await serves


@asynccontextmanager
async def in_front(
    database_url: str, folder: Path, gateway: Mapping[str, str]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a Longtake whose only provider is another one; `gateway` has its variables."""
    async with (
        serving(database_url, folder, gateway) as outer,
        httpx.AsyncClient(
            base_url=outer.url,
            headers={"Authorization": f"Bearer {outer.key}"},
            trust_env=False,
            timeout=60,
        ) as http,
    ):
        yield http


async def _work(engine: Engine) -> None:
    """Do what is due, over and over; polls come as if their time had come."""
    while True:
        for what in LIFE:
            await engine.database.fetch(
                "UPDATE due SET at = now() WHERE what = %s AND at > now() AND lease IS NULL",
                (what,),
            )
            await Pump(verb_for(what, engine), engine.database, None, seconds=0.05).run()


async def ran(*command: str) -> str:
    """What a program prints; it fails if the program does."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(300):
            output, complaints = await process.communicate()
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode == 0, complaints.decode()
    return output.decode()
