"""Row types are what their tables say: they can't drift from the schema that migrations make."""

import inspect
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from sqlmodel import SQLModel

from models.records import Json, columns, placeholders, shown_columns, values
from models.rows.attempts import Attempt, NewAttempt
from models.rows.batches import Batch, BatchRow, NewBatch
from models.rows.deliveries import Delivery, DeliveryRow, DeliveryTry, NewDelivery, TryRow
from models.rows.gates import Gate, GateRow, NewGate
from models.rows.jobs import Job, JobRow, NewJob
from models.rows.limits import Limit, LimitRow
from models.rows.money import Budget, BudgetRow, EntryRow, LedgerEntry
from models.rows.outputs import NewOutput, Output, OutputRow
from models.schema import METADATA, TABLES

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
    for module in TABLES:
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
