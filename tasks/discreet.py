"""What Flower and the logs may see of a message that holds a request: ids, no prompt, no secret."""

from typing import Any

from celery.worker.request import Request

#: Arguments that name things and give nothing away.
_SHOWN = ("job_id", "tenant")


class DiscreetRequest(Request):
    """Celery's view of such a message: its sender's own description is not believed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self.kwargs if isinstance(self.kwargs, dict) else {}
        shown = {name: given[name] for name in _SHOWN if isinstance(given.get(name), str)}
        self._argsrepr = "(hidden)" if self.args else "()"
        self._kwargsrepr = repr({"request": "(hidden)", **shown})

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - Celery's own
        """What `inspect` answers, which Flower shows; safe whatever it asks for."""
        return super().info(safe=True)
