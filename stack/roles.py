"""The processes of a stack as data: command, health check and grace, in the order of starting."""

import socket
import sys
import zlib
from pathlib import Path

from settings import Settings
from stack.checks import answers, answers_ping
from stack.child import Role
from stack.grace import stop_grace
from stack.needs import Needs
from stack.ports import Ports

#: Time for the API to drain, and for other processes to exit, in seconds. Workers: `stack.grace`.
API_GRACE, GRACE = 25.0, 10.0
#: Flower has no state to save, and its threads delay its exit, so it is killed at once.
NO_GRACE = 0.0

#: Queues and threads of each worker. Submits have a worker of their own, so that no other work
#: delays a new job, and so do POSTs that take minutes. Periodic work has slots of its own among
#: those of `main`: see `tasks.pump.slots`.
WORKERS = {
    "submit": ("submit,intake", 8),
    "long": ("submit_long", 4),
    "main": ("poll,prepare,store,deliver,control", 48),
}

# -P: never import a package of the current folder that is named like one of ours.
_PYTHON = (sys.executable, "-P", "-m")
_CELERY = (*_PYTHON, "worker")


def simulator(ports: Ports) -> Role:
    return Role(
        name="simulator",
        command=(*_PYTHON, "simulator", "--port", str(ports.simulator)),
        check=answers(f"http://127.0.0.1:{ports.simulator}/_sim/health"),
        grace=GRACE,
        needs=Needs.NOTHING,
    )


def ours(settings: Settings, ports: Ports) -> tuple[Role, ...]:
    """Workers, beat, API and Flower."""
    return (
        *of_the_database(settings, ports),
        *of_the_broker(settings, ports),
    )


def of_the_broker(settings: Settings, ports: Ports) -> tuple[Role, ...]:
    """Beat and Flower, which need the broker alone: they may start before the schema is there."""
    return (_beat(settings), _flower(ports))


def of_the_database(settings: Settings, ports: Ports) -> tuple[Role, ...]:
    """Workers and API."""
    return (*(_worker(name, settings) for name in WORKERS), _api(settings, ports))


def _worker(name: str, settings: Settings) -> Role:
    queues, threads = WORKERS[name]
    node = _node(name, settings.data_dir)
    return Role(
        name=f"worker-{name}",
        command=(
            *(*_CELERY, "worker", "-Q", queues, "-n", node, "-E"),
            *("--pool", "threads", "-c", str(threads), "-l", settings.log_level),
            *("--without-gossip", "--without-mingle"),  # we use neither
        ),
        check=answers_ping(settings.require_broker(), node),
        grace=stop_grace(queues.split(","), settings),
        queues=tuple(queues.split(",")),
        own={"LONGTAKE_METRICS_PORT": str(metrics_port(name, settings))},
    )


def metrics_port(name: str, settings: Settings) -> int:
    """The port of a worker's numbers: each has its own, from the setting's on; 0 for none."""
    return settings.metrics_port and settings.metrics_port + list(WORKERS).index(name)


def _beat(settings: Settings) -> Role:
    node = _node("beat", settings.data_dir)
    return Role(
        name="beat",
        command=(
            *(*_CELERY, "beat", "-l", settings.log_level, "-n", node, "--enable-remote-control"),
            # No schedule file: every entry may be sent at any time.
        ),
        check=answers_ping(settings.require_broker(), node),
        grace=GRACE,
        needs=Needs.BROKER,
    )


def _api(settings: Settings, ports: Ports) -> Role:
    return Role(
        name="api",
        command=(*_PYTHON, "api"),
        check=answers(f"http://{_local(settings.api_host)}:{ports.api}/readyz"),
        grace=API_GRACE,
    )


def _flower(ports: Ports) -> Role:
    address = ("--address=127.0.0.1", f"--port={ports.flower}")
    return Role(
        name="flower",
        command=(*_CELERY, "flower", *address, "--persistent=False"),
        check=answers(f"http://127.0.0.1:{ports.flower}/healthcheck"),
        grace=NO_GRACE,
        needs=Needs.FLOWER,
    )


def _node(name: str, data_dir: Path) -> str:
    """A node name that is unique among stacks that share a broker."""
    return f"{name}-{zlib.crc32(bytes(data_dir)):08x}@{socket.gethostname()}"


def _local(host: str) -> str:
    """The address for local clients of a server that listens on `host`."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - recognised, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
