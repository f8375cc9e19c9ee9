"""Jobs of the random run that are submitted as lines of batches, and what was promised of these."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tests.faults.harness.client import Client, Json
from tests.faults.harness.receiver import Receipt, Receiver, secret_of
from tests.faults.harness.stack import FaultStack, Row
from tests.faults.harness.wishes import Wish

#: Of so many wishes that follow each other, so many are lines of one batch.
EVERY, LINES = 30, 10

_BATCHES = """
SELECT id, state, lines, invalid, complete, failed, cancelled, webhook IS NOT NULL AS has_webhook
FROM batch
"""
_LINES = "SELECT id, batch_id, state, custom_id FROM job WHERE batch_id IS NOT NULL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A batch that was answered with 202."""

    id: str
    #: The custom_ids of its valid lines.
    names: frozenset[str]
    skipped: int
    has_webhook: bool


@dataclass(slots=True)
class Batches:
    """Gathers wishes into batches: with a webhook, a concurrency, an invalid line, a cancel, a
    repeated upload."""

    client: Client
    receiver: Receiver
    sent: list[Sent] = field(default_factory=list)
    _waiting: list[Wish] = field(default_factory=list)

    def take(self, number: int, wish: Wish) -> bool:
        """Whether the wish is a line of a batch, which is submitted with its last line."""
        if number % EVERY >= LINES:
            return False
        self._waiting.append(wish)
        if number % EVERY == LINES - 1:
            self._submit(self._waiting)
            self._waiting = []
        return True

    def end(self) -> None:
        """Submit what is left."""
        if self._waiting:
            self._submit(self._waiting)
            self._waiting = []

    def _submit(self, wished: Sequence[Wish]) -> None:
        turn, name = len(self.sent), f"batch-of-{wished[0].name}"
        options: Json = {"name": name}
        lines: list[object] = [{"custom_id": wish.name, **wish.body} for wish in wished]
        if turn % 3 != 2:
            options |= {"webhook_url": self.receiver.url(name), "webhook_secret": secret_of(name)}
        if turn % 2 == 0:
            options["concurrency"] = 3
        if is_skipping := turn % 4 == 1:
            options["on_invalid"] = "skip"
            lines.insert(1, {"prompt": ""})
        body = "\n".join(json.dumps(line) for line in [{"batch": options}, *lines])
        batch = self.client.submit_batch(body, key=name)
        if turn % 2 == 1:
            again = self.client.submit_batch(body, key=name)
            assert again == batch, f"{name} was accepted twice: {batch} and {again}"
        if turn % 4 == 3:
            self.client.cancel_batch(batch)
        names = frozenset(wish.name for wish in wished)
        self.sent.append(
            Sent(
                id=batch,
                names=names,
                skipped=int(is_skipping),
                has_webhook="webhook_url" in options,
            )
        )


def jobs_of(stack: FaultStack) -> list[str]:
    """The jobs of all batches."""
    return [row["id"] for row in stack.rows(_LINES)]


def judge_batches(
    stack: FaultStack, sent: Sequence[Sent], receipts: Sequence[Receipt]
) -> tuple[list[str], list[Receipt]]:
    """What is wrong with the batches, in words; and the receipts that are not theirs."""
    rows = {row["id"]: row for row in stack.rows(_BATCHES)}
    lines: dict[str, list[Row]] = defaultdict(list)
    for line in stack.rows(_LINES):
        lines[line["batch_id"]].append(line)
    told: dict[str, list[Receipt]] = defaultdict(list)
    others: list[Receipt] = []
    for receipt in receipts:
        if receipt.type == "batch.completed":
            told[receipt.job].append(receipt)
        else:
            others.append(receipt)
    wrong = [f"{id_} was asked for by nobody" for id_ in rows.keys() - {each.id for each in sent}]
    wrong += [f"{id_} is no batch, and a webhook tells of it" for id_ in told.keys() - rows.keys()]
    for batch in sent:
        if (row := rows.get(batch.id)) is None:
            wrong.append(f"{batch.id} was accepted and is lost")
            continue
        problems = _problems(batch, row, lines[batch.id], told[batch.id])
        wrong += [f"{batch.id}: {problem}" for problem in problems]
    return wrong, others


def _problems(
    batch: Sent, row: Row, lines: Sequence[Row], told: Sequence[Receipt]
) -> Iterator[str]:
    counted: Mapping[str, int] = {
        state: sum(line["state"] == state for line in lines)
        for state in ("complete", "failed", "cancelled")
    }
    checks = {
        "it has other lines than were sent": {line["custom_id"] for line in lines} == batch.names
        and len(lines) == len(batch.names) == row["lines"],
        "it has skipped other lines": row["invalid"] == batch.skipped,
        "its counts are not those of its rows": all(
            row[state] == number for state, number in counted.items()
        ),
        f"it is {row['state']}": row["state"] in {"completed", "failed", "cancelled"},
        "a signature is wrong": all(receipt.is_signed for receipt in told),
        "its end was told more than once": len({receipt.id for receipt in told}) <= 1
        and len({receipt.sha256 for receipt in told}) <= 1,
        "it tells another state": all(receipt.status == row["state"] for receipt in told),
        "its end was told to nobody, or to somebody who did not ask": any(
            receipt.is_taken for receipt in told
        )
        == batch.has_webhook,
    }
    yield from (problem for problem, holds in checks.items() if not holds)
