"""`python -m worker …`: Celery's commands, each process with no more than what it serves.

The `celery` command imports all of them and their plugins: Flower and a terminal's toolkit in each
worker, the whole engine in beat. It works as well (`celery -A worker worker …`), with more memory
and a slower start.
"""

import importlib
import sys
from typing import Any

import click
from celery.bin.base import CLIContext

from logs import configure
from settings import current

#: Where Celery has each command, and the module of ours whose app it runs with.
COMMANDS = {
    "worker": ("celery.bin.worker", "worker.celery"),
    "beat": ("celery.bin.beat", "worker.broker_only"),
    "flower": ("worker.flower", "worker.broker_only"),
    "inspect": ("celery.bin.control", "worker.broker_only"),
}
#: Processes whose output is a log; and those that would begin it with a banner.
LASTING = frozenset({"worker", "beat", "flower"})
BANNERS = LASTING - {"flower"}


def main(arguments: list[str]) -> None:
    """Run a command until it ends; exits as Celery's own command does."""
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        print(f"usage: python -m worker {'|'.join(COMMANDS)} …", file=sys.stderr)  # noqa: T201
        sys.exit(2)
    command, ours = COMMANDS[name]
    app: Any = importlib.import_module(ours).app
    run: Any = getattr(importlib.import_module(command), name)
    if name in LASTING:
        configure(current().log_level)  # before anything has a line to write
    context = CLIContext(
        app=app,
        no_color=not sys.stdout.isatty(),
        workdir=None,
        quiet=name in BANNERS,
    )
    # In a group, as Celery has them: Flower's reads the options of its parent.
    click.Group(commands={name: run}).main(arguments, prog_name="python -m worker", obj=context)


if __name__ == "__main__":
    main(sys.argv[1:])
