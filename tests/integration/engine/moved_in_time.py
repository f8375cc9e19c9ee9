"""Updates the usage rows of jobs whose times a test has changed."""

from models import usage
from models.database import Connection, fetch_ids
from tasks.engine import Engine


async def enter_anew(engine: Engine) -> None:
    """Insert the usage rows of all ended jobs again, with their present times."""

    async def work(connection: Connection) -> None:
        jobs = await fetch_ids(connection, "SELECT id FROM job WHERE finished_at IS NOT NULL")
        await connection.execute("DELETE FROM job_usage WHERE job = ANY(%s)", (jobs,))
        await usage.enter(connection, jobs)

    await engine.database.run(work)
