"""Resolves the requests of a batch's lines to plans, hundreds at a time."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field

from models.database import Connection
from models.failure import RequestRefused
from models.request import VideoRequest
from models.rows.gates import GateRow
from tasks.batches.checking import Wanted
from tasks.batches.templates import Found, Templates
from tasks.choosing import take_turns, takes_turn
from tasks.engine import Engine
from tasks.gates import find_gate
from tasks.pictures import job_references, refuse_missing, stored_among
from tasks.reachable import check_pictures, check_start, check_webhook

_Gate = GateRow | RequestRefused


@dataclass(slots=True, kw_only=True)
class Resolver:
    """What the lines of one batch have in common is looked up once."""

    engine: Engine
    tenant: str
    templates: Templates
    _gates: dict[str, _Gate] = field(default_factory=dict)
    _webhooks: dict[tuple[str | None, str | None], RequestRefused | None] = field(
        default_factory=dict
    )

    async def prepare(self, lines: Sequence[Wanted], *, takes_turns: bool) -> "Prepared":
        """Look up what these lines name: their gates, whose turns they take, and earlier jobs."""
        await self._find_gates(lines)
        turns = await self._take_turns(lines) if takes_turns else {}
        return Prepared(resolver=self, turns=turns, stored=await self._stored(lines))

    async def _find_gates(self, lines: Sequence[Wanted]) -> None:
        for name in {each.request.gate for each in lines} - self._gates.keys() - {None}:
            self._gates[str(name)] = await self._gate(str(name))

    async def _gate(self, name: str) -> _Gate:
        try:
            return await self.engine.database.run(
                lambda connection: find_gate(connection, name, tenant=self.tenant)
            )
        except RequestRefused as refusal:
            return refusal

    async def _take_turns(self, lines: Sequence[Wanted]) -> dict[str, Iterator[int]]:
        """The turns of each gate, taken in a transaction of its own: others wait for its row."""
        wanted = Counter(gate.id for each in lines if (gate := self._turning(each)))
        turns: dict[str, Iterator[int]] = {}
        gates = {gate.id: gate for gate in self._gates.values() if isinstance(gate, GateRow)}
        for id_, count in sorted(wanted.items()):
            first = await self.engine.database.run(_taking(gates[id_], count))
            turns[id_] = iter(range(first, first + count))
        return turns

    def _turning(self, line: Wanted) -> GateRow | None:
        gate = self._gates.get(line.request.gate or "")
        if not isinstance(gate, GateRow):
            return None
        try:
            return gate if takes_turn(gate, line.request) else None
        except RequestRefused:
            return None  # said again when the line is resolved

    async def _stored(self, lines: Sequence[Wanted]) -> frozenset[str]:
        jobs = {
            picture.job_id
            for each in lines
            for _, picture in each.request.pictures()
            if not isinstance(picture, str)
        }
        if not jobs:
            return frozenset()
        return await self.engine.database.run(
            lambda connection: stored_among(connection, jobs, tenant=self.tenant)
        )

    def check_webhook(self, url: str | None, secret: str | None) -> None:
        """Raises RequestRefused for one that could never be delivered."""
        target = (url, secret)
        if target not in self._webhooks:
            self._webhooks[target] = self._webhook_refusal(*target)
        if refusal := self._webhooks[target]:
            raise refusal

    def _webhook_refusal(self, url: str | None, secret: str | None) -> RequestRefused | None:
        try:
            check_webhook(self.engine, url, secret)
        except RequestRefused as refusal:
            return refusal
        return None

    def gate_of(self, line: Wanted) -> GateRow | None:
        """The line's gate; raises RequestRefused for one that does not exist."""
        if line.request.gate is None:
            return None
        match self._gates[line.request.gate]:
            case RequestRefused() as refusal:
                raise refusal
            case gate:
                return gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What some lines need so that they can be resolved without waiting."""

    resolver: Resolver
    turns: dict[str, Iterator[int]]
    #: The earlier jobs that have a stored video.
    stored: frozenset[str]

    def resolve(self, line: Wanted) -> Found:
        """The line's plans; raises RequestRefused as for a single request."""
        resolver, request = self.resolver, line.request
        resolver.check_webhook(request.webhook_url, request.webhook_secret)
        check_pictures(resolver.engine, request)
        check_start(request.run_at)
        gate = resolver.gate_of(line)
        turn = self._turn(gate, request)
        found = resolver.templates.find(request, gate, turn)
        if found.is_new:
            for plan in found.choice.plans:
                refuse_missing(job_references(plan), self.stored)
        return found

    def _turn(self, gate: GateRow | None, request: VideoRequest) -> int:
        if gate is None or not takes_turn(gate, request) or gate.id not in self.turns:
            return 0
        return next(self.turns[gate.id])


def _taking(gate: GateRow, count: int) -> Callable[[Connection], Awaitable[int]]:
    async def work(connection: Connection) -> int:
        return await take_turns(connection, gate, count)

    return work
