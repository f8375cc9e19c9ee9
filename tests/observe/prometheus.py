"""Finds Prometheus and its `promtool`: this machine's, or what `make` has unpacked."""

import shutil
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
_UNPACKED: Final = ROOT / ".venv/prometheus/usr/bin"


def program(name: str) -> str | None:
    """The path of `prometheus` or `promtool`; None where there is none."""
    unpacked = shutil.which(name, path=str(_UNPACKED))
    return unpacked or shutil.which(name)
