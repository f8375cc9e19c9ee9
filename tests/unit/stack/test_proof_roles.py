"""A worker of the local stack may take as long to stop as a paid POST of its queues may take."""

import pytest

from providers.registry import PROVIDERS
from settings import load
from stack import roles
from stack.ports import Ports

BASE = {
    "LONGTAKE_DATABASE_URL": "postgresql://nowhere",
    "LONGTAKE_BROKER_URL": "redis://127.0.0.1:1",
    "LONGTAKE_SECRET_KEYS": "a-key-that-only-tests-use-0123456789",
}
RUNWAY = {"RUNWAYML_API_SECRET": "key_for_tests"}
LAYER = {"LAYER_API_KEY": "key", "LAYER_GATE_ID": "gate"}
#: As long as a stop may take that waits for no POST, in seconds.
SHORT = 45.0


def graces(**more: str) -> dict[str, float]:
    settings = load({**BASE, **more})
    ports = Ports(api=1, flower=2, simulator=3)
    return {role.name: role.grace for role in roles.ours(settings, ports)}


@pytest.mark.parametrize("seconds", [60, 300])
def test_the_grace_of_submits_follows_the_time_out_of_posts(seconds: int) -> None:
    found = graces(**RUNWAY, LONGTAKE_SUBMIT_TIMEOUT_SECONDS=str(seconds))

    assert found["worker-submit"] > seconds
    assert max(found["worker-long"], found["worker-main"]) <= SHORT


def test_the_grace_of_long_submits_follows_their_providers() -> None:
    needs = PROVIDERS["layer"].capabilities.submit_timeout

    assert needs is not None
    assert graces(**LAYER)["worker-long"] > needs
    assert graces(**LAYER)["worker-submit"] <= SHORT
