from __future__ import annotations

import pytest

from materializer.convex.values import Int64
from materializer.devserver.functions import (
    Arguments,
    Call,
    ConvexError,
    Function,
    FunctionFailed,
    Returned,
    canonical,
)


@pytest.mark.parametrize(
    ("written", "one"),
    [
        ("m:q", "m:q"),
        ("m.js:q", "m:q"),
        ("m", "m:default"),
        ("m.js", "m:default"),
        ("dir/sub/m.js:q", "dir/sub/m:q"),
        ("a.b/m:_q1", "a.b/m:_q1"),
    ],
)
def test_a_path_has_one_spelling(written: str, one: str) -> None:
    assert canonical(written) == one
    assert canonical(one) == one


@pytest.mark.parametrize(
    "path",
    [
        "",
        ":q",
        "m:",
        "m:1q",
        "m:__",
        "m:a-b",
        "/m:q",
        "dir//m:q",
        "../m:q",
        "m.ts:q",
        "api.media_jobs.getByJobId",
        "ä:q",
        "m:q\n",
        "m" * 65,
        "m:" + "q" * 65,
    ],
)
def test_a_path_that_no_function_could_have_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"module|function"):
        canonical(path)


def test_a_call_returns_exact_json_and_what_was_logged() -> None:
    def run(call: Call) -> object:
        call.log_lines.append(f"[LOG] '{call.owner}'")
        return {"sum": Int64(1), **call.args}

    returned = Function("query", run).call({"n": 2.0}, "me")
    assert returned == Returned(
        {"sum": {"$integer": "AQAAAAAAAAA="}, "n": 2.0}, ("[LOG] 'me'",)
    )


def test_a_call_that_fails_keeps_what_was_logged() -> None:
    def run(call: Call) -> object:
        call.log_lines.append("[ERROR] 'so far'")
        raise FunctionFailed("Uncaught Error: no")

    with pytest.raises(FunctionFailed) as caught:
        Function("query", run).call({}, None)
    assert caught.value.log_lines == ("[ERROR] 'so far'",)


def test_what_is_no_value_cannot_be_returned() -> None:
    with pytest.raises(FunctionFailed, match="cannot be returned"):
        Function("query", lambda call: {1, 2}).call({}, None)


@pytest.mark.parametrize(
    ("data", "says", "json"),
    [
        ("no", "Uncaught ConvexError: no", "no"),
        ({"code": 1}, 'Uncaught ConvexError: {"code":1.0}', {"code": 1.0}),
        (None, "Uncaught ConvexError: null", None),
    ],
)
def test_a_failure_on_purpose_carries_its_data(
    data: object, says: str, json: object
) -> None:
    error = ConvexError(data)
    assert (str(error), error.data) == (says, json)


def test_arguments_are_checked_as_they_are_taken() -> None:
    args = Arguments(Call({"n": 1.0, "yes": True, "more": ""}, None))
    assert args.take("n", float, "v.float64()") == 1
    assert args.take("m", float, "v.float64()", 7) == 7
    with pytest.raises(FunctionFailed, match="missing the required field `o`"):
        args.take("o", float, "v.float64()")
    with pytest.raises(FunctionFailed, match="extra field"):
        args.done()
    with pytest.raises(FunctionFailed, match=r"Path: \.yes Validator: v.float64"):
        args.take("yes", int | float, "v.float64()")
    args.take("more", str, "v.string()")
    args.done()
