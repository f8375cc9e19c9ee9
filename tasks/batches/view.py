"""The public view of a batch: the same JSON for API responses and webhooks."""

from typing import TypeAlias

from models.records import Json
from models.rows.batches import BatchRow, BatchState
from tasks.view import iso, usd

#: A batch as use cases return it.
ShownBatch: TypeAlias = BatchRow


def batch_view(batch: BatchRow) -> Json:
    """The public JSON of a batch with its whole counts, without any secret."""
    return {
        "id": batch.id,
        "object": "batch",
        "status": _status(batch),
        "name": batch.name,
        "app_id": batch.app_id,
        "counts": {
            "total": batch.lines + batch.invalid,
            "pending": batch.pending,
            "processing": batch.processing,
            "complete": batch.complete,
            "failed": batch.failed,
            "cancelled": batch.cancelled,
            "invalid": batch.invalid,
        },
        "estimated_cost_usd": usd(batch.estimated_cost_micros),
        "reserved_cost_usd": usd(batch.reserved_micros),
        "cost_usd": usd(batch.charged_micros),
        "options": {name: value for name, value in batch.options.items() if name != "metadata"},
        "metadata": batch.metadata,
        "retry_of": batch.retry_of,
        "errors": batch.errors or [],
        "error_count": batch.invalid,
        **{
            name: iso(getattr(batch, name))
            for name in ("created_at", "finished_at", "cancelled_at", "deadline_at")
        },
        "results_url": f"/v1/batches/{batch.id}/results",
    }


def _status(batch: BatchRow) -> str:
    is_cancelling = batch.state == BatchState.IN_PROGRESS and batch.cancelled_at is not None
    return "cancelling" if is_cancelling else batch.state
