"""What each process imports: a library in the wrong one costs every start a part of a second."""

import importlib
import json
import subprocess
import sys

import pytest
import typer

from cli.commands import COMMANDS, loaded

#: Prints the top-level packages that a program has imported, without the standard library's.
REPORT = """
import json, sys
found = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
found.discard("sitecustomize")  # of the tests
print("\\n@", json.dumps(sorted(name for name in found if name[0] != "_")))
"""

HELP = """
import contextlib, io, sys
sys.argv = ["longtake", "--help"]
from cli.main import main
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""


def started(name: str, *more: str) -> str:
    """The program `python -m worker NAME`, up to where it would connect to its broker."""
    return f"""
import importlib
from worker.__main__ import COMMANDS
command, ours = COMMANDS[{name!r}]
app = importlib.import_module(ours).app
for module in (command, *{more!r}):
    importlib.import_module(module)
app.finalize()
app.connection_for_write().transport
"""


PROGRAMS = {
    "--help": HELP,
    "beat": started("beat", "celery.apps.beat", "worker.beat"),
    "flower": started("flower", "flower.app"),
    "worker": started("worker", "celery.apps.worker", "celery.worker.consumer"),
    "api": "import api.__main__",
    "up": "import cli.up",
    "list": "import cli.jobs",
}

TERMINAL = {"attr", "markdown_it", "mdurl", "pygments", "rich"}
#: Our settings and logs; kombu with its transport; Celery with what it always imports.
SETTINGS = {
    *("annotated_types", "dotenv", "pydantic", "pydantic_core", "pydantic_settings"),
    *("settings", "typing_extensions", "typing_inspection"),
}
LOGS = {"logs", "orjson", "structlog", *TERMINAL}  # structlog takes rich along where it finds it
CELERY = {
    *("amqp", "billiard", "celery", "cffi", "click", "cryptography", "cython_runtime", "dateutil"),
    *(
        "kombu",
        "msgpack",
        "opentelemetry",
        "packaging",
        "redis",
        "six",
        "tzlocal",
        "vine",
        "xxhash",
        "yaml",
    ),
    *("models", "scheduler", "tasks", "worker"),
}
#: All that these may import.
ALLOWED = {
    "--help": {"annotated_doc", "cli", "shellingham", "typer", *TERMINAL},
    "beat": SETTINGS | LOGS | CELERY,
    "flower": SETTINGS
    | LOGS
    | CELERY
    | {"flower", "humanize", "prometheus_client", "pytz", "tornado"},
}
#: What the others must not: whose work they do not do.
_SCHEMA = {"alembic", "mako", "sqlalchemy", "sqlmodel"}
FORBIDDEN = {
    "worker": {
        "api",
        "av",
        "fastapi",
        "flower",
        "prompt_toolkit",
        "starlette",
        "tornado",
        "uvicorn",
    }
    | _SCHEMA,
    "api": {"av", "celery", "flower", "kombu", "redis", "tornado"} | _SCHEMA,
    "up": {"aiohttp", "av", "celery", "fastapi", "flower", "kombu", "simulator", "uvicorn"}
    | _SCHEMA,
    "list": {"aiohttp", "av", "celery", "cryptography", "fastapi", "psycopg", "redis"} | _SCHEMA,
}


def imported(program: str) -> set[str]:
    # Any address will do: nothing connects.
    variables = {"LONGTAKE_BROKER_URL": "redis://127.0.0.1:1/0", "PATH": ""}
    child = subprocess.run(
        [sys.executable, "-P", "-c", program + REPORT],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=variables,
    )
    assert child.returncode == 0, child.stderr
    return set(json.loads(child.stdout.rpartition("@")[2]))


@pytest.mark.parametrize("name", ALLOWED)
def test_a_process_imports_no_more_than_it_serves(name: str) -> None:
    assert imported(PROGRAMS[name]) <= ALLOWED[name]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_process_leaves_the_work_of_others_out(name: str) -> None:
    assert not imported(PROGRAMS[name]) & FORBIDDEN[name]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_lists_a_command_as_it_is(name: str) -> None:
    command = loaded(name)
    listed = COMMANDS[name]
    assert command.get_short_help_str(200) == listed.summary
    assert command.rich_help_panel == listed.panel


def test_the_help_lists_all_that_a_module_registers() -> None:
    for path in {listed.module for listed in COMMANDS.values()}:
        module = importlib.import_module(path)
        if hasattr(module, "register"):
            made = typer.Typer()
            made.callback()(lambda: None)
            module.register(made)
            names = set(vars(typer.main.get_command(made))["commands"])
            assert names == {name for name, each in COMMANDS.items() if each.module == path}
