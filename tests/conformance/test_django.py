"""`longtake.django` in Django itself: its tests run in environments that have one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conformance.driving import JUDGES, present

ROOT = Path(__file__).parents[2]
#: Django 6 has tasks of its own, and wants this.
NEEDED = (3, 12)
BOUND = 240


def run_tests(environment: str) -> str:
    """The last line that the tests of Django print there; they must pass, every one."""
    tests = ROOT / "tests/_django"
    python = JUDGES / environment / "bin/python"
    ended = subprocess.run(
        [python, "-m", "pytest", "-q", "-c", tests / "pytest.ini", "--rootdir", ROOT, tests],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=BOUND,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout.strip().splitlines()[-1]


def test_the_backport_on_django_5() -> None:
    present(JUDGES / "django-backport")

    assert re.fullmatch(r"[1-9][0-9]* passed in .*", run_tests("django-backport"))


def test_the_tasks_of_django_6() -> None:
    if not (JUDGES / "django-6").is_dir() and sys.version_info < NEEDED:
        pytest.skip("Django 6 is NOT RUN: `make install` found no Python 3.12 (DJANGO_PYTHON=)")
    present(JUDGES / "django-6")

    assert re.fullmatch(r"[1-9][0-9]* passed in .*", run_tests("django-6"))
