"""`make observe`: a stack with work under a real Prometheus, its panels and its alerts."""

import subprocess
import sys

import pytest

from tests.observe.prometheus import ROOT, program

BOUND = 480


def test_every_panel_has_data_and_alerts_fire() -> None:
    if program("prometheus") is None:
        pytest.skip("there is no Prometheus here: dashboards and alerts were not run")
    run = subprocess.run(
        [sys.executable, "-m", "tests.observe.live"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=BOUND,
    )

    assert run.returncode == 0, run.stdout + run.stderr
