"""The processes of a stack as data: command, check and grace of each, in the order of starting."""

import socket
import sys
import zlib
from pathlib import Path

from settings import Settings
from stack.checks import answers, pinged
from stack.child import Role
from stack.grace import stop_grace
from stack.ports import Ports

#: How long the API may take to drain, others to end: seconds. Workers: see `stack.grace`.
API_GRACE, GRACE = 25.0, 10.0
#: Flower keeps nothing, and its threads hold it for longer than anybody wants to wait.
NOTHING_TO_LOSE = 0.0

#: Queues and threads of each worker; submit has slots of its own, so no pump delays a fresh job,
#: and so have POSTs that take minutes.
WORKERS = {
    "submit": ("submit,intake", 8),
    "long": ("submit_long", 4),
    "main": ("poll,store,deliver,control", 32),
}

# -P: a package named like ours in the folder where the command is typed must not be imported.
_PYTHON = (sys.executable, "-P", "-m")
_CELERY = (*_PYTHON, "celery", "-A", "worker")


def simulator(ports: Ports) -> Role:
    return Role(
        name="simulator",
        command=(*_PYTHON, "simulator", "--port", str(ports.simulator)),
        check=answers(f"http://127.0.0.1:{ports.simulator}/_sim/health"),
        grace=GRACE,
    )


def ours(settings: Settings, ports: Ports, *, simulate: bool) -> tuple[Role, ...]:
    """Workers, beat, API and Flower."""
    workers = (_worker(name, settings) for name in WORKERS)
    return (*workers, _beat(settings), _api(settings, ports), _flower(ports, simulate=simulate))


def _worker(name: str, settings: Settings) -> Role:
    queues, threads = WORKERS[name]
    node = _node(name, settings.data_dir)
    return Role(
        name=f"worker-{name}",
        command=(
            *(*_CELERY, "worker", "-Q", queues, "-n", node, "-E"),
            *("--pool", "threads", "-c", str(threads), "-l", settings.log_level),
            *("--without-gossip", "--without-mingle"),  # nothing of ours needs them
        ),
        check=pinged(settings.require_broker(), node),
        grace=stop_grace(queues.split(","), settings),
        queues=tuple(queues.split(",")),
    )


def _beat(settings: Settings) -> Role:
    node = _node("beat", settings.data_dir)
    return Role(
        name="beat",
        command=(
            *(*_CELERY, "beat", "-l", settings.log_level, "-n", node, "--enable-remote-control"),
            # It keeps nothing on disk: every entry may be sent at any time.
        ),
        check=pinged(settings.require_broker(), node),
        grace=GRACE,
    )


def _api(settings: Settings, ports: Ports) -> Role:
    return Role(
        name="api",
        command=(*_PYTHON, "api"),
        check=answers(f"http://{_local(settings.api_host)}:{ports.api}/readyz"),
        grace=API_GRACE,
    )


def _flower(ports: Ports, *, simulate: bool) -> Role:
    # With FLOWER_UNAUTHENTICATED_API (see `environment`) any page in a browser may call it.
    read_only = ("--read_only=True",) if simulate else ()
    address = ("--address=127.0.0.1", f"--port={ports.flower}")
    return Role(
        name="flower",
        command=(*_CELERY, "flower", *address, "--persistent=False", *read_only),
        check=answers(f"http://127.0.0.1:{ports.flower}/healthcheck"),
        grace=NOTHING_TO_LOSE,
    )


def _node(name: str, data_dir: Path) -> str:
    """Unique among the stacks that may share a broker."""
    return f"{name}-{zlib.crc32(bytes(data_dir)):08x}@{socket.gethostname()}"


def _local(host: str) -> str:
    """Where this machine reaches a server that listens on `host`."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - recognised, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
