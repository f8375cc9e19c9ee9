"""Row types are what their tables say: they can't drift from the schema that migrations make."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from sqlmodel import SQLModel

from models import rows
from models.records import Json, columns, placeholders, shown_columns, values
from models.rows.attempts import NewAttempt
from models.rows.batches import COUNTS, BatchRow, NewBatch
from models.rows.deliveries import DeliveryRow, NewDelivery, TryRow
from models.rows.gates import GateRow, NewGate
from models.rows.jobs import JobRow, NewJob
from models.rows.limits import LimitRow
from models.rows.money import BudgetRow, EntryRow
from models.rows.outputs import NewOutput, OutputRow
from models.schema import METADATA
from models.tables.attempts import Attempt
from models.tables.batches import Batch, BatchChange
from models.tables.deliveries import Delivery, DeliveryTry
from models.tables.gates import Gate
from models.tables.jobs import Job
from models.tables.limits import Limit
from models.tables.money import Budget, LedgerEntry
from models.tables.outputs import Output

#: Every row type and the table that it is read from or inserted into.
ROWS: dict[type, type[SQLModel]] = {
    NewJob: Job,
    JobRow: Job,
    NewAttempt: Attempt,
    NewOutput: Output,
    OutputRow: Output,
    NewDelivery: Delivery,
    NewGate: Gate,
    GateRow: Gate,
    NewBatch: Batch,
    BatchRow: Batch,
    DeliveryRow: Delivery,
    TryRow: DeliveryTry,
    BudgetRow: Budget,
    EntryRow: LedgerEntry,
    LimitRow: Limit,
}
#: Columns that the insert computes, beside those of the row type.
COMPUTED: dict[type, set[str]] = {
    NewJob: {"progress_source", "deadline_at"},
    NewAttempt: set(),
    NewOutput: set(),
    NewDelivery: set(),
    NewGate: set(),
    NewBatch: {"deadline_at"},
}
EACH_FIELD = pytest.mark.parametrize(
    ("row", "name"), [(row, each.name) for row in ROWS for each in fields(row)]
)


def row_types() -> Iterator[type]:
    for found in pkgutil.iter_modules(rows.__path__):
        module = importlib.import_module(f"models.rows.{found.name}")
        for name, each in inspect.getmembers(module, inspect.isclass):
            if is_dataclass(each) and each.__module__ == module.__name__ and name[0] != "_":
                yield each


def parts(annotation: Any) -> tuple[Any, bool]:
    """The type of an annotation without None, and whether None was in it."""
    options = [each for each in get_args(annotation) or (annotation,) if each is not NoneType]
    if get_origin(annotation) is dict or annotation is dict:
        return dict, False
    base = options[0]
    return get_origin(base) or base, NoneType in get_args(annotation)


def test_every_row_type_is_compared_with_its_table() -> None:
    assert set(row_types()) == set(ROWS)


def test_the_counts_of_a_batch_are_the_columns_of_its_changes() -> None:
    assert {*COUNTS, "id", "batch"} == set(BatchChange.model_fields)


@EACH_FIELD
def test_a_field_is_a_column_that_may_be_null_exactly_if_the_field_may_be_none(
    row: type, name: str
) -> None:
    table = METADATA.tables[str(ROWS[row].__tablename__)]
    assert name in table.columns, f"{table.name} has no column {name}"
    _, may_be_none = parts(get_type_hints(row)[name])
    assert table.columns[name].nullable == may_be_none


@EACH_FIELD
def test_a_field_has_the_type_of_its_column(row: type, name: str) -> None:
    ours, _ = parts(get_type_hints(row)[name])
    theirs, _ = parts(ROWS[row].model_fields[name].annotation)
    assert issubclass(theirs, ours), f"{ours} cannot hold {theirs}"


@pytest.mark.parametrize("row", COMPUTED)
def test_an_insert_sets_every_column_that_has_no_default(row: type) -> None:
    table = METADATA.tables[str(ROWS[row].__tablename__)]
    needed = {
        column.name
        for column in table.columns
        if not column.nullable and column.server_default is None
    }
    assert needed <= {each.name for each in fields(row)} | COMPUTED[row]


def test_the_statement_names_the_fields_of_its_row_type() -> None:
    assert columns(TryRow) == "number, at, status, error, milliseconds"
    assert columns(TryRow, of="try").startswith("try.number, try.at, ")
    assert placeholders(NewOutput) == "%(id)s, %(job)s, %(attempt)s, %(position)s, %(state)s"


def test_json_objects_are_sent_as_json_and_other_values_as_they_are() -> None:
    job: Json = {each.name: None for each in fields(NewJob)}
    row = NewJob(**job | {"id": "job_vid_1", "plan": {"model": "m"}})
    sent = values(row)
    assert (sent["id"], sent["webhook"]) == ("job_vid_1", None)
    assert sent["plan"].obj == {"model": "m"}


def test_a_marked_column_is_documented_and_may_be_unset() -> None:
    for name, (type_, mark) in shown_columns(JobRow).items():
        assert mark.description, name
        assert NoneType in get_args(type_), f"{name} is shown only if it is set"
    assert "app_id" in shown_columns(JobRow)
