"""The brokers of a fault test: an embedded Valkey, or a virtual host of the machine's RabbitMQ."""

import random
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Protocol

from celery import Celery
from redis import Redis

from models.verbs import What
from stack.servers.server import living, mark_of, send
from stack.servers.valkey import EmbeddedValkey
from tests.faults.harness.processes import ROOT

#: Where a RabbitMQ of this machine listens, and whom it lets in by default.
RABBITMQ = ("127.0.0.1", 5672)
#: How long one `rabbitmqctl` may take, in seconds.
CTL_BOUND = 60.0

#: The queue and task of each kind of hint, as the README tells senders of messages.
HINTS = {
    What.SUBMIT: ("submit", "video.submit"),
    What.POLL: ("poll", "video.poll"),
    What.LOOK_UP: ("control", "video.look_up"),
    What.CANCEL: ("control", "video.cancel"),
    What.STORE: ("store", "video.store"),
    What.EXPIRE: ("control", "video.expire"),
    What.ERASE: ("control", "video.erase"),
}
QUEUES = ("intake", "submit", "submit_long", "prepare", "poll", "store", "deliver", "control")


class NoBroker(Exception):
    """This machine has no broker of the kind; the message says what is missing."""


class Broker(Protocol):
    """A broker that a test may mistreat."""

    @property
    def url(self) -> str: ...

    @property
    def is_amqp(self) -> bool: ...

    def flush(self) -> None:
        """Every message that waits is gone."""
        ...

    def die(self) -> None:
        """kill -9, or the nearest to it that is ours to do."""
        ...

    def revive(self) -> None: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def close(self) -> None: ...


class Valkey:
    """The embedded server of a test's own folder."""

    is_amqp = False

    def __init__(self, folder: Path) -> None:
        self._server = EmbeddedValkey(folder)
        self._mark = mark_of(folder.resolve() / "valkey")
        self.url = self._server.start().url

    def flush(self) -> None:
        with Redis.from_url(self.url, socket_timeout=10) as client:
            client.flushall()

    def die(self) -> None:
        self._send(Signals.SIGKILL)

    def revive(self) -> None:
        assert self._server.start().url == self.url, "Valkey's port was taken meanwhile"

    def freeze(self) -> None:
        self._send(Signals.SIGSTOP)

    def thaw(self) -> None:
        self._send(Signals.SIGCONT)

    def close(self) -> None:
        self.thaw()
        self._server.stop()

    def _send(self, signal: Signals) -> None:
        send(living("valkey-server", self._mark), signal)


class RabbitMq:
    """A virtual host of its own on the machine's RabbitMQ, which serves others as well."""

    is_amqp = True

    def __init__(self) -> None:
        reason = _why_no_rabbitmq()
        if reason:
            raise NoBroker(reason)
        self._vhost = f"longtake-chaos-{secrets.token_hex(4)}"
        self.url = f"amqp://guest:guest@{RABBITMQ[0]}:{RABBITMQ[1]}/{self._vhost}"
        _ctl("add_vhost", self._vhost)
        _ctl("set_permissions", "-p", self._vhost, "guest", ".*", ".*", ".*")

    def flush(self) -> None:
        for queue in QUEUES:
            _ctl("purge_queue", "-p", self._vhost, queue, may_fail=True)

    def die(self) -> None:
        """Not the server, which is not ours: every connection to our virtual host breaks."""
        _ctl("close_all_connections", "--vhost", self._vhost, "fault test")

    def revive(self) -> None:
        """It never went away."""

    def freeze(self) -> None:
        """It can't be: others use it."""

    def thaw(self) -> None:
        """See `freeze`."""

    def close(self) -> None:
        _ctl("delete_vhost", self._vhost)


@contextmanager
def sender(broker: Broker) -> Iterator[Celery]:
    """A program that knows our broker and the names of our tasks, and nothing else of us."""
    kind = "quorum" if broker.is_amqp else "classic"
    with Celery("longtake-faults", broker=broker.url, set_as_current=False) as app:
        app.conf.update(
            task_default_queue_type=kind,
            task_create_missing_queue_type=kind,
            task_publish_retry=False,
            broker_connection_timeout=5,
            broker_transport_options={"confirm_publish": True}
            if broker.is_amqp
            else {"socket_timeout": 5, "socket_connect_timeout": 5},
        )
        yield app


def repeat_hints(broker: Broker, lanes: Sequence[str], *, dice: random.Random) -> int:
    """Send every hint there can be, twice, in any order; returns how many."""
    hints = [(what, lane) for what in HINTS for lane in (*lanes, "-", "nobody")] * 2
    dice.shuffle(hints)
    with sender(broker) as app:
        for what, lane in hints:
            queue, task = HINTS[what]
            app.send_task(task, kwargs={"lane": lane}, queue=queue, expires=60)
        for _ in range(5):
            app.send_task("video.deliver", kwargs={}, queue="deliver", expires=60)
            app.send_task("video.tick", queue="control", expires=60)
    return len(hints) + 10


def _why_no_rabbitmq() -> str | None:
    if shutil.which("rabbitmqctl") is None:
        return "rabbitmqctl is not installed"
    try:
        socket.create_connection(RABBITMQ, timeout=2).close()
    except OSError as error:
        return f"nothing answers at {RABBITMQ[0]}:{RABBITMQ[1]}: {error.strerror}"
    answer = _ctl("status", may_fail=True)
    return f"rabbitmqctl may not be used: {answer.stderr[:200]}" if answer.returncode else None


def _ctl(*arguments: str, may_fail: bool = False) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        [shutil.which("rabbitmqctl") or "rabbitmqctl", "--quiet", *arguments],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CTL_BOUND,
    )
    assert may_fail or not answer.returncode, answer.stderr
    return answer
