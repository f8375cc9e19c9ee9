"""Health: up is up, ready is with a database at the right schema and no end in sight."""

import pytest

from tests.integration.api.conftest import Api

pytestmark = pytest.mark.anyio


async def test_an_idle_process_is_up_and_ready_without_a_key(api: Api) -> None:
    del api.http.headers["Authorization"]

    assert (await api.http.get("/healthz")).json() == {"status": "ok"}
    assert (await api.http.get("/readyz")).json() == {"status": "ready"}


async def test_a_draining_process_is_up_but_not_ready(api: Api) -> None:
    api.front.is_draining = True

    ready = await api.http.get("/readyz")

    assert ready.status_code == 503
    assert ready.json()["error"]["code"] == "draining"
    assert "told to stop" in ready.json()["error"]["message"]
    assert (await api.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("sql", "status"),
    [
        ("UPDATE alembic_version SET version_num = '0000'", 503),
        ("DELETE FROM alembic_version", 503),
        ("DROP TABLE alembic_version", 503),
        ("UPDATE alembic_version SET version_num = '9999'", 200),
    ],
    ids=["older", "empty", "none", "newer"],
)
async def test_a_schema_older_than_the_code_is_not_ready(api: Api, sql: str, status: int) -> None:
    await api.fetch(sql)

    ready = await api.http.get("/readyz")

    assert ready.status_code == status
    if status == 503:
        assert ready.json()["error"]["code"] == "migrations_behind"
        assert "run the migrations" in ready.json()["error"]["message"]
