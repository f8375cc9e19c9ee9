"""Each verb is declared once, and its declaration is true."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from pkgutil import resolve_name

import pytest

from models.verbs import DECLARED, Declaration, What
from tasks.crash import OF_INTAKE, POINTS
from tasks.queues import Queue

TASKS = Path(__file__).parents[3] / "tasks"
#: The pump reaches these itself, with names that it makes.
OF_THE_PUMP = {"claimed", "written"}


def test_every_kind_of_due_rows_is_declared_once() -> None:
    assert sorted(declared.what for declared in DECLARED) == sorted(What)


@pytest.mark.parametrize("declared", DECLARED, ids=lambda declared: declared.what)
def test_a_declaration_names_the_verb_of_its_kind(declared: Declaration) -> None:
    verb = resolve_name(f"{declared.module}:{declared.verb}")
    (kind,) = (field for field in fields(verb) if field.name == "what")
    assert kind.default is declared.what
    assert declared.queue in set(Queue)


def test_the_crash_points_are_those_in_the_code() -> None:
    sources = [path.read_text() for path in sorted(TASKS.rglob("*.py"))]
    found = [point for text in sources for point in re.findall(r'crash_point\("([^"]+)"\)', text)]
    named = [point for point in POINTS if point.rpartition(".")[2] not in OF_THE_PUMP]
    assert sorted(found) == sorted([*named, *OF_INTAKE])


def test_celery_shows_a_task_for_each_verb_with_its_docstring() -> None:
    # In a process of its own: asking the app gives a process its broker
    told = subprocess.run(
        [sys.executable, "-c", _TASKS],
        env={
            "LONGTAKE_DATABASE_URL": "postgresql://nowhere",
            "LONGTAKE_BROKER_URL": "redis://127.0.0.1:1",
            "LONGTAKE_SECRET_KEYS": "a-key-of-a-test" * 3,
        },
        check=True,
        capture_output=True,
        timeout=60,
    ).stdout
    tasks = json.loads(told)
    assert {declared.task: declared.doc for declared in DECLARED}.items() <= tasks.items()


_TASKS = """
import json, tasks.video
from tasks.queue import app
print(json.dumps({name: task.__doc__ for name, task in app.tasks.items()}))
"""
