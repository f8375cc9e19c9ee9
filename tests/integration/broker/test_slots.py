"""A worker whose downloads all hang still ends jobs at their deadlines, submits and ticks."""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr

from models.request import VideoRequest
from models.vault import Vault
from settings import load
from tasks.engine import Engine
from tasks.intake import accept
from tests.integration.broker.test_proof_clocks import (
    BOUND,
    LATE,
    came_true,
    environment,
    run,
    worker,
)

__all__ = ["environment"]

THREADS = 16
#: More lanes with a video to store than the worker has threads, and how many it stores at a time.
LANES, TAKEN = 20, 12
ACCOUNTS = [f"runway:team{n:02}" for n in range(LANES)]

#: A finished operation whose video is to be stored.
FINISHED = """
INSERT INTO job (id, tenant, request_id, state, model, prompt, request, plan, scene,
                 progress_source, typical_seconds, estimated_cost_micros, unknown_policy,
                 deadline_at, accepted_at)
VALUES ('job_' || %(n)s, 'default', 'req', 'storing', 'gen4.5', 'a fox', '{}', '{}', '',
        'estimated', 1, 0, 'at_most_once', now() + interval '1 day', now());
INSERT INTO attempt (id, job, provider, account, route, state, marker, count, operation_id,
                     accepted_at, sent_at, finished_at)
VALUES ('att_' || %(n)s, 'job_' || %(n)s, 'runway', %(lane)s, 'runway/gen4.5', 'succeeded',
        'mark_' || %(n)s, 1, 'op_' || %(n)s, now(), now(), now());
INSERT INTO output (id, job, attempt, position, state, source, source_at)
VALUES ('out_' || %(n)s, 'job_' || %(n)s, 'att_' || %(n)s, 0, 'ready', %(source)s, now());
INSERT INTO due (what, id, lane, tenant) VALUES ('store', 'out_' || %(n)s, %(lane)s, 'default')
"""
#: A hint for each lane's videos; then the tick's message, as beat sends it.
STORE_ALL = f"""
from models.verbs import What
from tasks import hints
for lane in {ACCOUNTS!r}:
    assert hints.send(What.STORE, lane)
"""
TICK = """
from worker.celery import app
app.send_task("video.tick", queue="control")
"""


@dataclass(slots=True)
class Vendor:
    """Takes submits, and never sends a video."""

    url: str
    downloads: int = 0
    submits: int = 0
    numbers: Iterator[int] = field(default_factory=count)
    over: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/video"):
                made.downloads += 1
                made.over.wait(120)
                self.close_connection = True
                return
            self._say({"id": self.path.rpartition("/")[2], "status": "RUNNING", "progress": 0.1})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            made.submits += 1
            self._say({"id": f"op-{next(made.numbers)}"})

        def _say(self, answer: Mapping[str, Any]) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made = Vendor(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield made
    made.over.set()
    server.shutdown()
    server.server_close()
    thread.join(10)


@pytest.fixture
def variables(environment: Mapping[str, str], vendor: Vendor) -> Mapping[str, str]:
    secrets = {f"RUNWAYML_API_SECRET__TEAM{n:02}": "key_for_tests" for n in range(LANES)}
    return {
        **environment,
        **secrets,
        "RUNWAYML_API_SECRET": "key_for_tests",
        "RUNWAYML_BASE_URL": vendor.url,
        "LONGTAKE_ALLOW_PRIVATE_HOSTS": "127.0.0.0/8",
    }


def submitted(variables: Mapping[str, str]) -> str:
    """A job that is to be sent by some account."""

    async def work() -> str:
        engine = Engine.build(load(variables))
        try:
            request = VideoRequest.from_json({"prompt": "a quiet sea", "model": "gen4.5"})
            return (await accept(engine, request, tenant="default")).job_id
        finally:
            await engine.close()

    return asyncio.run(work())


def test_downloads_that_hang_in_every_lane_delay_neither_deadlines_nor_submits_nor_the_tick(
    variables: Mapping[str, str], vendor: Vendor, database_url: str, tmp_path: Path
) -> None:
    vault = Vault((SecretStr(variables["LONGTAKE_SECRET_KEYS"]),))
    queues = "store,control,submit,poll"
    with psycopg.connect(database_url, autocommit=True) as connection:
        # Given a worker all of whose lanes have a video at a host that sends nothing
        for n, lane in enumerate(ACCOUNTS):
            source = vault.seal_json({"url": f"{vendor.url}/video/{n}"})
            for statement in FINISHED.split(";\n"):
                connection.execute(
                    statement.encode(), {"n": str(n), "lane": lane, "source": source}
                )
        log = tmp_path / "worker.log"
        with worker(variables, log, queues=queues, threads=THREADS):
            run(STORE_ALL, variables)
            assert came_true(lambda: vendor.downloads == TAKEN), log.read_text()

            # When a deadline is over, a job is submitted, and the tick comes
            connection.execute(LATE.encode())
            job = submitted(variables)
            run(TICK, variables)

            # Then the one job ends and the other is sent, while the downloads hang
            def states() -> dict[str, str]:
                rows = connection.execute(
                    "SELECT id, state FROM job WHERE id = ANY(%s)", (["job_vid_late", job],)
                )
                return dict(rows.fetchall())

            assert came_true(
                lambda: states() == {"job_vid_late": "failed", job: "processing"}, 3 * BOUND
            ), (states(), log.read_text())
            assert vendor.submits == 1
            assert vendor.downloads == TAKEN
