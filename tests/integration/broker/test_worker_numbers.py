"""A worker's numbers on its port, by threads and by processes, which may die and be replaced."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.broker.test_proof_intake import CANARY, House, came_true

QUEUES = "intake,submit,control"
PUT_OFF = {"what": "submit", "provider": "runway", "outcome": "put_off"}


@pytest.fixture
def house(database_url: str, valkey_url: str, tmp_path: Path) -> House:
    return House(database_url, valkey_url, tmp_path)


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Scraper:
    """Asks a worker as Prometheus does."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def text(self) -> str:
        return httpx.get(self._url, trust_env=False).raise_for_status().text

    def sum(self, name: str, **labels: str) -> float:
        """Of all samples of this name that have these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def submits(house: House, jobs: int) -> None:
    """Have jobs submitted to a provider that nobody reaches, again and again."""
    for _ in range(jobs):
        house.send(request={"prompt": f"a fox, {CANARY}", "model": "gen4.5"})
    assert came_true(lambda: house.jobs() == jobs)


def hint(house: House) -> None:
    house.rows("UPDATE due SET at = now() - interval '1 s' WHERE what = 'submit' RETURNING id")
    from celery import Celery  # noqa: PLC0415 - as the house does

    with Celery("hinting", broker=house.valkey_url, set_as_current=False) as sender:
        sender.send_task("video.submit", kwargs={"lane": "runway"}, queue="submit")


def is_counted(house: House, counted: Callable[[], float], most: float) -> bool:
    hint(house)
    return came_true(lambda: counted() >= most, within=5.0)


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_one_port_tells_of_all_that_a_worker_did(house: House, port: int, pool: str) -> None:
    numbers = Scraper(port)
    with house.worker(QUEUES, pool=pool, LONGTAKE_METRICS_PORT=str(port)):
        submits(house, 3)
        hint(house)

        assert came_true(lambda: numbers.sum("longtake_work_total", **PUT_OFF) >= 3)
        assert came_true(lambda: numbers.sum("longtake_round_rows_sum", what="submit") >= 3)
        assert numbers.sum("longtake_worker_queue") == 3
        assert numbers.sum("longtake_disk_free_bytes") > 0
        text = numbers.text()
        for secret in (CANARY, "job_vid", "default", "127.0.0.1", "celery@"):
            assert secret not in text


def test_counts_outlive_the_processes_that_made_them(house: House, port: int) -> None:
    numbers = Scraper(port)

    def done() -> float:
        return numbers.sum("longtake_work_total", **PUT_OFF)

    with house.worker(QUEUES, pool="prefork", LONGTAKE_METRICS_PORT=str(port)) as worker:
        submits(house, 2)
        for _ in range(3):
            before = done()
            # A process that is killed may take a hint along: it is sent again.
            assert any(is_counted(house, done, before + 2) for _ in range(8))

            # When every process of the pool is killed and replaced
            known = done()
            children = psutil.Process(worker.pid).children()
            assert len(children) >= 4
            for child in children:
                child.kill()
            gone = {child.pid for child in children}
            assert came_true(
                lambda gone=gone: (
                    len(  # type: ignore[misc]
                        {each.pid for each in psutil.Process(worker.pid).children()} - gone
                    )
                    >= 4
                )
            )

            # Then nothing that was counted is lost
            assert done() >= known


def test_a_child_does_not_keep_the_port_of_a_parent_that_died(house: House, port: int) -> None:
    with house.worker(QUEUES, pool="prefork", LONGTAKE_METRICS_PORT=str(port)) as worker:
        # Given children that were made after the port was opened, and that do not end
        first = psutil.Process(worker.pid).children()
        for child in first:
            child.kill()
        gone = {child.pid for child in first}

        def made_later() -> list[psutil.Process]:
            return [one for one in psutil.Process(worker.pid).children() if one.pid not in gone]

        assert came_true(lambda: len(made_later()) >= 4)
        children = made_later()
        try:
            for child in children:
                child.suspend()

            # When their parent dies
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait(10)

            # Then another worker can have the port
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind(("127.0.0.1", port))
                other.listen(1)
        finally:
            for child in children:
                child.kill()


def test_a_port_that_is_taken_costs_the_numbers_and_no_work(house: House, port: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen(1)
        with house.worker(QUEUES, LONGTAKE_METRICS_PORT=str(port)):
            submits(house, 1)

    assert "metrics.cannot_listen" in house.log.read_text()


def test_without_a_port_nothing_listens(house: House) -> None:
    with house.worker(QUEUES) as worker:
        listening = [
            each
            for each in psutil.Process(worker.pid).net_connections("inet")
            if each.status == psutil.CONN_LISTEN
        ]

    assert listening == []
