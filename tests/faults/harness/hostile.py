"""Tenants that take what they can get, and a quiet one beside them whose waits are counted.

Each hostile tenant does what one once slowed all others with: webhooks and pictures at hosts that
hang, names whose look-up hangs, prompts that patterns choke on, bodies of 25 MB. All of it is
bounded, and their jobs join what the run is judged by.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx

from tests.faults.harness.batches import Sent
from tests.faults.harness.client import PATIENCE, Client, Json
from tests.faults.harness.far_hosts import QUIET as QUIET_HOST
from tests.faults.harness.far_hosts import FarHosts
from tests.faults.harness.receiver import Receiver, secret_of
from tests.faults.harness.stack import FaultStack
from tests.faults.harness.wishes import fresh_name

#: The quiet one's name comes before all others': claims look at it last.
QUIET: Final = "a-quiet"
HANGING, SILENT = "z-hanging-webhooks", "z-silent-names"
PICTURES, PROMPTS, BODIES = "z-hanging-pictures", "z-long-prompts", "z-large-bodies"
HOSTILE: Final = (HANGING, SILENT, PICTURES, PROMPTS, BODIES)

#: Who makes all of their videos, and takes pictures inside its requests only: one lane for all.
MODEL = "gemini_veo/veo3.1"
#: Batches of lines with webhooks, each cancelled at once, so that all of its webhooks are due: more
#: than three workers may hold of one tenant (64 each).
LINES, WEBHOOK_BATCHES, NAME_BATCHES = 100, 4, 2
#: Jobs of each, one at a time.
WEBHOOKS, NAMES, LINKS, LONG_PROMPTS = 40, 20, 60, 60
#: Seconds after which unfinished deliveries are replayed, which makes them due; how often.
REPLAY_EVERY, MOST_REPLAYS = 15.0, 12
#: Seconds that jobs have whose pictures hang.
PICTURE_DEADLINE = 60
#: The longest prompt that there is, in characters.
LONGEST_PROMPT = 20_000
#: Bodies of one sender, senders, the size of a body in bytes, and seconds between two.
EACH_BODIES, SENDERS, BODY, BETWEEN_BODIES = 6, 3, 25 * 2**20 - 1024, 2.0
#: Seconds between two jobs: with webhooks, of prompts, of pictures.
BETWEEN_WEBHOOKS, BETWEEN_PROMPTS, BETWEEN_PICTURES = 1.0, 0.4, 0.2
#: Seconds between two jobs of the quiet tenant, and its fewest and most jobs.
BETWEEN_QUIET, LEAST_QUIET, MOST_QUIET = 1.0, 4, 400
#: Seconds for a request of theirs, until it is repeated if nobody answered, and for threads to end.
TO_ANSWER, PAUSE, TO_END = 60.0, 0.5, 240.0

_UNFINISHED = "SELECT id FROM delivery WHERE tenant = %s AND state = 'pending' LIMIT 500"


@dataclass(slots=True)
class Neighbours:
    """Threads of all these tenants; everything they did is here when they have ended."""

    stack: FaultStack
    hosts: FarHosts
    #: The quiet tenant's.
    receiver: Receiver
    #: Ids of jobs that were answered with 202.
    accepted: list[str] = field(default_factory=list)
    #: How each tenant was answered: statuses, or no answer.
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    #: Their batches.
    sent: list[Sent] = field(default_factory=list)
    #: Seconds until the quiet tenant's submissions were answered.
    quiet_waits: list[float] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answers = {tenant: Counter() for tenant in HOSTILE}
        for tenant in (QUIET, *HOSTILE):  # while nothing befalls the database
            self.stack.key_of(tenant)

    def begin(self) -> None:
        ways: Sequence[Callable[[], None]] = (
            self._webhooks,
            self._names,
            self._pictures,
            self._prompts,
            *[self._bodies] * SENDERS,
            self._quiet,
        )
        for way in ways:
            thread = threading.Thread(target=self._run, args=[way], name=way.__name__)
            self._threads.append(thread)
            thread.start()

    def end(self) -> None:
        """No more requests; whoever hangs is let go. Raises what went wrong in the threads."""
        self._over.set()
        for thread in self._threads:
            thread.join(TO_END)
            assert not thread.is_alive(), f"{thread.name} has not ended within {TO_END} s"
        self.hosts.let_go()
        if self.errors:
            raise self.errors[0]

    def table(self) -> list[tuple[str, object]]:
        """What hostile tenants were answered."""
        told = [
            (f"  {tenant}", ", ".join(f"{n} times {what}" for what, n in sorted(counted.items())))
            for tenant, counted in self.answers.items()
        ]
        hung = f"{self.hosts.hung} connections, {len(set(self.hosts.asked))} names asked for"
        return [*told, ("  hung", hung)]

    # -- hostile --------------------------------------------------------------------------------

    def _webhooks(self) -> None:
        """Each at a host of its own that hangs."""
        self._flood(HANGING, WEBHOOK_BATCHES, WEBHOOKS, self.hosts.hanging)

    def _names(self) -> None:
        """Each at a name of its own, whose server is silent."""
        self._flood(SILENT, NAME_BATCHES, NAMES, self.hosts.silent)

    def _flood(
        self, tenant: str, batches: int, singles: int, url: Callable[[int, str], str]
    ) -> None:
        """Webhooks by the hundred, each at a host of its own, then one at a time; then replays."""
        number = 0
        with self._http(tenant) as http:
            for _ in range(batches):
                self._submit_batch(http, tenant, range(number, number + LINES), url)
                number += LINES
                if self._over.is_set():
                    return
            for later in range(number, number + singles):
                name = fresh_name()
                self._submit(http, tenant, _asked(name, url(later, f"/hooks/{name}")), key=name)
                if self._over.wait(BETWEEN_WEBHOOKS):
                    return
            for _ in range(MOST_REPLAYS):
                self._replay(http, tenant)
                if self._over.wait(REPLAY_EVERY):
                    return

    def _submit_batch(
        self, http: httpx.Client, tenant: str, numbers: range, url: Callable[[int, str], str]
    ) -> None:
        """One webhook for each number."""
        names = [fresh_name() for _ in numbers]
        lines = [
            {"custom_id": name} | _asked(name, url(number, f"/hooks/{name}"))
            for number, name in zip(numbers, names, strict=True)
        ]
        body = "\n".join(map(json.dumps, lines)).encode()
        answer = self._post(http, tenant, "/v1/batches", body, key=names[0], is_owed=True)
        if answer is None or not answer.is_success:
            return
        batch = answer.json()["id"]
        self.sent.append(Sent(id=batch, names=frozenset(names), skipped=0, has_webhook=False))
        self._post(http, tenant, f"/v1/batches/{batch}/cancel")

    def _replay(self, http: httpx.Client, tenant: str) -> None:
        """Make all unfinished deliveries due."""
        for row in self.stack.rows(_UNFINISHED, tenant):
            if self._over.is_set():
                return
            self._post(http, tenant, f"/v1/webhooks/deliveries/{row['id']}/replay")

    def _pictures(self) -> None:
        """At hosts that hang, for a provider that gets them inside its requests."""
        with self._http(PICTURES) as http:
            for number in range(LINKS):
                name = fresh_name()
                link = self.hosts.hanging(number, "/picture.png")
                more = {"image": link, "deadline_seconds": PICTURE_DEADLINE}
                body = _asked(name, self.stack.receiver.url(name), **more)
                self._submit(http, PICTURES, body, key=name)
                if self._over.wait(BETWEEN_PICTURES):
                    return

    def _prompts(self) -> None:
        """Shapes on which a pattern may backtrack; half of them are refused, and so redacted."""
        with self._http(PROMPTS) as http:
            for number in range(LONG_PROMPTS):
                name = fresh_name()
                start = f"{'[sim:moderate] ' if number % 2 else ''}{name} "
                prompt = (start + "a-" * LONGEST_PROMPT)[:LONGEST_PROMPT]
                body = _asked(name, self.stack.receiver.url(name), prompt=prompt)
                self._submit(http, PROMPTS, body, key=name)
                if self._over.wait(BETWEEN_PROMPTS):
                    return

    def _bodies(self) -> None:
        """A picture or numbers of 25 MB, in a request that is refused for its last field."""
        with self._http(BODIES) as http:
            for number in range(EACH_BODIES):
                name = fresh_name()
                body = _large(name, has_numbers=number % EACH_BODIES == 1)
                self._post(http, BODIES, "/v1/video/generations", body)
                if self._over.wait(BETWEEN_BODIES):
                    return

    # -- quiet ----------------------------------------------------------------------------------

    def _quiet(self) -> None:
        """One job at a time, every other one with a picture behind a link."""
        port = urlsplit(self.receiver.picture).port
        with self.stack.client(QUIET) as client:
            for number in range(MOST_QUIET):
                name = fresh_name()
                body = _asked(name, f"http://{QUIET_HOST}:{port}/hooks/{name}")
                if number % 2:
                    body["image"] = f"http://{QUIET_HOST}:{port}/picture.png"
                self.quiet_waits.append(_seconds_of(client, body, self.accepted))
                if self._over.wait(BETWEEN_QUIET) and number + 1 >= LEAST_QUIET:
                    return

    # -- how ------------------------------------------------------------------------------------

    def _run(self, way: Callable[[], None]) -> None:
        try:
            way()
        except BaseException as error:  # noqa: BLE001 - raised again by `end`, in the test's thread
            self.errors.append(error)

    def _http(self, tenant: str) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.stack.key_of(tenant)}"}
        return httpx.Client(
            base_url=self.stack.url, headers=headers, timeout=TO_ANSWER, trust_env=False
        )

    def _submit(self, http: httpx.Client, tenant: str, body: Json, *, key: str) -> None:
        content = json.dumps(body).encode()
        answer = self._post(http, tenant, "/v1/video/generations", content, key=key)
        if answer is not None and answer.is_success:
            self.accepted.append(answer.json()["id"])

    def _post(
        self,
        http: httpx.Client,
        tenant: str,
        path: str,
        content: bytes = b"{}",
        *,
        key: str | None = None,
        is_owed: bool = False,
    ) -> httpx.Response | None:
        """The answer, whatever it says; with a `key` repeated while nobody answers, until the end.

        One that `is_owed` is waited for longer, since what was accepted is judged by it.
        """
        until = time.monotonic() + (PATIENCE if key else 0.0)
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        while True:
            try:
                answer = http.post(path, content=content, headers=headers)
            except httpx.TransportError:
                self.answers[tenant]["no answer"] += 1
            else:
                self.answers[tenant][str(answer.status_code)] += 1
                if not (is_owed and answer.is_server_error):
                    return answer
            is_over = self._over.wait(PAUSE) and not is_owed
            if is_over or time.monotonic() > until:
                return None
            time.sleep(PAUSE)


def _asked(name: str, webhook: str, **more: object) -> Json:
    """A request of its own name."""
    fields: Json = {"prompt": f"A fox crosses a frozen lake, {name}", "model": MODEL}
    return fields | {"webhook_url": webhook, "webhook_secret": secret_of(name)} | more


def _large(name: str, *, has_numbers: bool) -> bytes:
    """A body of 25 MB whose `count` is refused."""
    fields = {"prompt": name, "model": MODEL}
    start = json.dumps(fields).removesuffix("}")
    if has_numbers:
        middle = ', "metadata": {"n": [' + "0," * ((BODY - 200) // 2) + "0]}"
    else:
        middle = ', "image": "data:image/png;base64,' + "A" * (BODY - 200) + '"'
    return f'{start}{middle}, "count": 0}}'.encode()


def _seconds_of(client: Client, body: Json, accepted: list[str]) -> float:
    """Submit, repeating while nobody answers; seconds until the 202."""
    began = time.monotonic()
    accepted.append(client.submit(body, key=fresh_name()))
    return time.monotonic() - began
