"""The local stack: starts servers and processes in order, and stops them in reverse."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from models import revision
from providers.registry import is_vendor_variable
from settings import Settings, SettingsError, load, read_files
from stack import roles
from stack.child import Child, Role
from stack.environment import (
    StackVariables,
    child_environment,
    simulated,
    simulator_variables,
    stack_variables,
)
from stack.folder import TAG, Folder
from stack.grace import cut_off_message, in_flight, stop_grace, waiting_message
from stack.keys import developer_key
from stack.needs import variables_for
from stack.ports import Ports, choose
from stack.servers.postgres import EmbeddedPostgres
from stack.servers.valkey import EmbeddedValkey
from stack.threads import in_thread

#: Prints one line of progress.
Tell = Callable[[str], None]

DEFAULT_FOLDER = Path(".longtake")
#: Seconds before a stop first reports what it waits for, and between reports.
TELL_AFTER, TELL_AGAIN = 1.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack."""

    data_dir: Path
    logs: Path
    settings: Settings
    api_url: str
    flower_url: str
    simulator_url: str | None
    #: The API key of the tenant "default", for local commands.
    api_key: str = field(repr=False)
    crew: "Crew" = field(repr=False)


@asynccontextmanager
async def running(
    environment: Mapping[str, str],
    *,
    simulate: bool,
    tell: Tell,
    hurry: asyncio.Event | None = None,
) -> AsyncIterator[Stack]:
    """Run a stack of servers and processes for the duration of the block.

    Its processes inherit `environment`. LONGTAKE_DATA_DIR there names its data folder;
    LONGTAKE_DATABASE_URL and LONGTAKE_BROKER_URL replace the embedded servers. At the end, workers
    finish their paid requests first, unless `hurry` is set.

    Raises:
        StackError: it can't run here; the message says why and how to fix it.
        EmbeddedServerError: PostgreSQL or Valkey can't run here; likewise.
        SettingsError: a variable has an invalid value.
    """
    environment = read_files(environment, also=is_vendor_variable)
    folder = Folder(Path(environment.get("LONGTAKE_DATA_DIR") or DEFAULT_FOLDER))
    async with AsyncExitStack() as exits:
        exits.enter_context(folder.locked())
        crew = Crew(folder, tell, hurry or asyncio.Event())
        await _end_strays(crew, folder, environment, tell)
        settings = load({**environment, "LONGTAKE_DATA_DIR": str(folder.path)})
        ports = choose(settings, simulate=simulate)
        servers = _Servers(settings, folder, tell)
        # Each stop is registered before its start, which may be interrupted half way.
        exits.push_async_callback(servers.stop)
        exits.push_async_callback(crew.stop)
        simulator = [roles.simulator(ports)] if simulate else []
        await _together(
            servers.start_postgres(),
            servers.start_valkey(),
            servers.load_migrations(),
            crew.launch(simulator, environment),
        )
        known = await _known(settings, folder, ports, servers, simulate=simulate)
        settings = load({**environment, **known.variables()})
        crew.settings = settings
        variables = child_environment(environment, known, simulate=simulate)

        async def work_on_the_database() -> str:
            await servers.migrate()
            api_key = await developer_key(folder, settings)
            crew.publish(known)
            await crew.launch(roles.of_the_database(settings, ports), variables)
            return api_key

        api_key, _ = await _together(
            work_on_the_database(),
            crew.launch(roles.of_the_broker(settings, ports), variables),
        )
        crew.watch()
        yield Stack(
            data_dir=folder.path,
            logs=folder.logs,
            settings=settings,
            api_url=settings.api_url,
            flower_url=f"http://127.0.0.1:{ports.flower}",
            simulator_url=_simulator_url(ports) if simulate else None,
            api_key=api_key,
            crew=crew,
        )


async def _end_strays(
    crew: "Crew", folder: Folder, environment: Mapping[str, str], tell: Tell
) -> None:
    """Stop the processes left by a killed stack, once their paid requests are answered."""
    await crew.drain_strays({**environment, "LONGTAKE_DATA_DIR": str(folder.path)})
    for stray in await in_thread(folder.stop_strays):
        tell(f"Stopped {stray}, left running by a stack that was killed")
    folder.unpublish()


async def _known(
    settings: Settings, folder: Folder, ports: Ports, servers: "_Servers", *, simulate: bool
) -> StackVariables:
    """The variables of the stack's processes, once its servers run."""
    known = stack_variables(
        settings,
        folder,
        ports=ports,
        database_url=servers.database_url,
        broker_url=servers.broker_url,
    )
    if not simulate:
        return known
    return simulated(known, settings, await simulator_variables(_simulator_url(ports)))


async def _together(*works: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of works that run at the same time; the first failure ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the others are its consequences
    return [task.result() for task in tasks]


class _Servers:
    """The embedded servers, unless the operator's own replace them."""

    def __init__(self, settings: Settings, folder: Folder, tell: Tell) -> None:
        self.database_url = settings.database_url or ""
        self.broker_url = settings.broker_url or ""
        self._postgres = None if settings.database_url else EmbeddedPostgres(folder.path)
        self._valkey = None if settings.broker_url else EmbeddedValkey(folder.path)
        self._is_new = self._postgres is not None and not (folder.path / "postgres").exists()
        self._tell = tell

    async def start_postgres(self) -> None:
        if self._postgres is not None:
            self.database_url = (await in_thread(self._postgres.start)).url
            self._tell("PostgreSQL is up")

    async def start_valkey(self) -> None:
        if self._valkey is not None:
            self.broker_url = (await in_thread(self._valkey.start)).url
            self._tell("Valkey is up")

    async def load_migrations(self) -> None:
        """Import Alembic, which a new database needs, while its server is being made."""
        if self._is_new:
            await in_thread(_alembic)

    async def migrate(self) -> None:
        await in_thread(self._migrate)
        self._tell("The database schema is up to date")

    def _migrate(self) -> None:
        if revision.current(self.database_url) != revision.newest():
            _alembic().upgrade(self.database_url)

    async def stop(self) -> None:
        try:
            if self._valkey is not None:
                await in_thread(self._valkey.stop)
        finally:
            if self._postgres is not None:
                await in_thread(self._postgres.stop)


def _alembic() -> ModuleType:
    """Alembic and SQLAlchemy cost a second and 30 MB: only a start that migrates has them."""
    return importlib.import_module("models.migrate")


def _simulator_url(ports: Ports) -> str:
    return f"http://127.0.0.1:{ports.simulator}"


class Crew:
    """The processes of one stack."""

    def __init__(self, folder: Folder, tell: Tell, hurry: asyncio.Event) -> None:
        self._folder = folder
        self._tell = tell
        self._hurry = hurry
        #: The settings of its processes, once known.
        self.settings: Settings | None = None
        #: Processes launched together, in launch order.
        self._groups: list[list[Child]] = []
        self._known: StackVariables | None = None
        self._watching: list[asyncio.Task[None]] = []

    async def launch(self, wanted: Sequence[Role], environment: Mapping[str, str]) -> None:
        """Start processes together and wait until all are ready. Raises StackError."""
        children = [
            Child(
                role,
                environment={
                    **variables_for(role.needs, environment),
                    **role.own,
                    TAG: self._folder.tag,
                },
                logs=self._folder.logs,
                tell=self._tell,
            )
            for role in wanted
        ]
        self._groups.append(children)
        for child in children:
            child.start()
        self._publish()
        await _together(*(self._until_ready(child) for child in children))

    def publish(self, known: StackVariables) -> None:
        """Publish the stack, so that other commands find it."""
        self._known = known
        self._publish()

    def watch(self) -> None:
        """Begin restarting processes that exit."""
        self._watching = [
            asyncio.create_task(child.supervise(self._publish)) for child in self._children()
        ]

    async def forever(self) -> None:
        """Wait; returns only by raising, if supervision itself fails."""
        await asyncio.gather(*self._watching)

    async def stop(self) -> None:
        """Stop all groups, the last launched first; a group's processes stop together."""
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        self._folder.unpublish()
        for group in reversed(self._groups):
            telling = asyncio.create_task(self._tell_what_is_waited_for(group))
            await asyncio.gather(*(child.stop(self._hurry) for child in group))
            telling.cancel()
            await asyncio.wait([telling])
            paying = [queue for child in group for queue in child.role.queues]
            if self._hurry.is_set() and paying and self.settings is not None:
                # The workers are dead: attempts still `sent` are those that were cut off.
                self._tell(cut_off_message(await in_flight(self.settings, paying)))

    async def drain_strays(self, environment: Mapping[str, str]) -> None:
        """Send SIGTERM to the processes of a killed stack, and wait for their paid requests."""
        if not await in_thread(self._folder.terminate_strays):
            return
        try:
            theirs = load(environment)  # a killed stack's file still holds its URLs
        except SettingsError:
            return  # reported later, when the settings are needed
        if theirs.database_url is None:
            return
        queues = [queue for listened, _ in roles.WORKERS.values() for queue in listened.split(",")]
        bound = asyncio.get_running_loop().time() + stop_grace(queues, theirs)
        while (
            asyncio.get_running_loop().time() < bound
            and not self._hurry.is_set()
            and await in_thread(lambda: bool(self._folder.strays()))
            and (flying := await in_flight(theirs, queues))
        ):
            self._tell(waiting_message("workers of a stack that was killed", flying))
            await self._hurried_within(TELL_AGAIN)

    async def _tell_what_is_waited_for(self, group: Sequence[Child]) -> None:
        """Report what the stop waits for, after a second, until cancelled."""
        while self.settings is not None and not await self._hurried_within(TELL_AFTER):
            for child in group:
                if child.role.queues and child.lives:
                    flying = await in_flight(self.settings, child.role.queues)
                    if flying and child.lives:
                        self._tell(waiting_message(child.role.name, flying))
            if await self._hurried_within(TELL_AGAIN):
                return

    async def _hurried_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _children(self) -> list[Child]:
        return [child for group in self._groups for child in group]

    async def _until_ready(self, child: Child) -> None:
        await child.ready()
        self._tell(f"{child.role.name} is up")

    def _publish(self) -> None:
        if self._known is not None:
            pids = {child.role.name: child.pid for child in self._children() if child.pid}
            self._folder.publish(self._known.as_settings(), pids=pids)
