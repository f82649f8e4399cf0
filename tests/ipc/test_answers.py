from dataclasses import fields
from typing import get_args

import pytest

from materializer.ipc import jsonlines
from materializer.ipc.answers import ANSWERS, EVENTS
from materializer.ipc.contract import PARAMS, TOPICS, reader
from materializer.model import camel

EVERYBODY_S = {
    jsonlines.PARSE_ERROR,
    jsonlines.INVALID_REQUEST,
    jsonlines.METHOD_NOT_FOUND,
    jsonlines.INVALID_PARAMS,
    jsonlines.INTERNAL_ERROR,
    jsonlines.SHUTTING_DOWN,
}


def test_every_method_has_its_answer_in_the_order_of_the_contract() -> None:
    assert list(ANSWERS) == list(PARAMS)


@pytest.mark.parametrize("method", ANSWERS)
def test_the_example_of_a_method_is_what_it_takes(method: str) -> None:
    answer = ANSWERS[method]
    reader(PARAMS[method])(answer.example)
    known = {camel(field.name) for field in fields(PARAMS[method])}
    assert answer.example.keys() <= known


@pytest.mark.parametrize("method", ANSWERS)
def test_a_method_names_the_errors_that_not_every_method_has(method: str) -> None:
    own = {jsonlines.NOT_FOUND, jsonlines.NOT_SIGNED_IN, jsonlines.CONFLICT}
    assert ANSWERS[method].errors.keys() <= own
    assert own.isdisjoint(EVERYBODY_S)


def test_there_is_an_event_for_every_topic() -> None:
    topics = [get_args(event.model_fields["topic"].annotation) for event in EVENTS]
    assert {topic for (topic,) in topics} == TOPICS
    assert len(topics) == len(TOPICS)
