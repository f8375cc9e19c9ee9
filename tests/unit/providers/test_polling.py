"""The usual poll: its calls, what it makes of their answers, and what is missing."""

import json

import pytest

from providers.base import NOT_FOUND, Phase, Update
from providers.polling import get_each
from transport.base import Response


def answer(status: int, body: object) -> Response:
    return Response(status=status, headers={}, content=json.dumps(body).encode())


def read(body: object) -> Update:
    assert isinstance(body, dict)
    return Update(phase=Phase(body["state"]))


def test_each_operation_is_asked_for_at_its_own_path_and_what_is_not_found_is_missing() -> None:
    # Given three operations, the second of which the vendor knows no more
    flow = get_each(["a", "b", "c"], path="/tasks/{}".format, read=read)
    answers = [answer(200, {"state": "queued"}), answer(404, {}), answer(200, {"state": "failed"})]
    # When their calls are answered in turn
    calls = [next(flow), flow.send(answers[0]), flow.send(answers[1])]
    with pytest.raises(StopIteration) as done:
        flow.send(answers[2])
    # Then there was one free GET for each, and the other two are told of
    assert [(call.method, call.target) for call in calls] == [
        ("GET", "/tasks/a"),
        ("GET", "/tasks/b"),
        ("GET", "/tasks/c"),
    ]
    assert all(call.accept == {NOT_FOUND} and not call.paid for call in calls)
    assert done.value.value == {"a": Update(phase=Phase.QUEUED), "c": Update(phase=Phase.FAILED)}


def test_an_answer_that_cannot_be_read_fails_the_whole_poll() -> None:
    flow = get_each(["a", "b"], path="/tasks/{}".format, read=read)
    next(flow)
    with pytest.raises(ValueError, match="not a valid Phase"):
        flow.send(answer(200, {"state": "on strike"}))


def test_nothing_to_ask_about_asks_nothing() -> None:
    with pytest.raises(StopIteration) as done:
        next(get_each([], path="/tasks/{}".format, read=read))
    assert done.value.value == {}
