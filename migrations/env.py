"""Alembic's entry: runs migrations on the connection that `models.migrate` hands over."""

from alembic import context

from models.schema import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    compare_type=True,
    # What one locks is free again while the next one, which may take long, is at work.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
