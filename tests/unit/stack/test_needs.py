"""What of the stack's variables each process gets."""

from stack.needs import Needs, variables_for

WHOLE = {
    "PATH": "/bin",
    "LC_ALL": "C.UTF-8",
    "LONGTAKE_BROKER_URL": "redis://:secret@127.0.0.1/0",
    "LONGTAKE_DATABASE_URL": "postgresql://secret",
    "LONGTAKE_SECRET_KEYS": "secret",
    "RUNWAYML_API_SECRET__TEAM": "secret",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "FLOWER_BASIC_AUTH": "me:secret",
}


def given(needs: Needs) -> set[str]:
    return set(variables_for(needs, WHOLE)) - {"PATH", "LC_ALL"}


def test_beat_gets_the_broker_and_flower_its_options_too() -> None:
    assert given(Needs.BROKER) == {"LONGTAKE_BROKER_URL"}
    assert given(Needs.FLOWER) == {"LONGTAKE_BROKER_URL", "FLOWER_BASIC_AUTH"}


def test_the_simulator_gets_nothing_of_ours() -> None:
    assert given(Needs.NOTHING) == set()


def test_workers_and_api_get_all_but_flowers_password() -> None:
    assert given(Needs.EVERYTHING) == {*WHOLE} - {"PATH", "LC_ALL", "FLOWER_BASIC_AUTH"}
