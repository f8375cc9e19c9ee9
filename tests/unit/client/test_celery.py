"""What `longtake.celery` refuses before it speaks to a broker."""

from typing import Any

import pytest
from celery import Celery

from longtake.celery import enqueue, enqueue_batch


def test_an_app_that_would_show_the_request_is_refused() -> None:
    app = Celery("old", broker="memory://", set_as_current=False, task_protocol=1)

    with pytest.raises(ValueError, match="task_protocol must be 2"):
        enqueue(app, {"prompt": "a secret fox"})
    with pytest.raises(ValueError, match="task_protocol must be 2"):
        enqueue_batch(app, [{"prompt": "a secret fox"}], batch_id="foxes")


@pytest.mark.parametrize("request_", ["a fox", ["prompt"], None, 5])
def test_what_is_no_mapping_is_refused(request_: Any) -> None:
    with pytest.raises(TypeError, match="mapping"):
        enqueue("memory://", request_)
