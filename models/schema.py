"""The whole schema: every table, for migrations and the tests that compare them with it."""

from sqlmodel import SQLModel

from models.tables import (
    accounts,
    attempts,
    batches,
    deliveries,
    due,
    durations,
    gates,
    high_water,
    holders,
    intake_failures,
    jobs,
    limits,
    money,
    outputs,
    page_sessions,
    pictures,
    receivers,
    submissions,
    tenants,
    upkeep,
    usage,
)

#: Modules that define tables: importing them registers the tables with the metadata.
TABLES = (
    *(tenants, jobs, attempts, outputs, deliveries, due),
    *(durations, high_water, intake_failures, limits, money, gates, accounts, submissions),
    *(batches, receivers, pictures, upkeep, holders, page_sessions),
    usage,
)
METADATA = SQLModel.metadata
