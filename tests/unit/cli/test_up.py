"""What `longtake up` tells once the stack is up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.up import _greet


def test_the_start_tells_where_the_pages_are_and_how_to_sign_in(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stack: Any = SimpleNamespace(
        api_url="http://127.0.0.1:8000",
        flower_url="http://127.0.0.1:5555",
        simulator_url=None,
        api_key="lt_key",
        logs=Path("logs"),
    )

    _greet(stack)

    said = capsys.readouterr().err
    assert ["Pages", "http://127.0.0.1:8000/ui"] in [line.split() for line in said.splitlines()]
    assert "longtake ui-link --tenant default" in said
