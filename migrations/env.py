"""Alembic's entry: runs migrations on the connection that `models.migrate` hands over."""

from alembic import context
from sqlmodel import SQLModel

from models import rows

assert rows.Job.metadata is SQLModel.metadata  # noqa: S101 - importing the rows fills the metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
