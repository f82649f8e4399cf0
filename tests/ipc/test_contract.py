from typing import Any

import pytest

from materializer.ipc.contract import (
    PARAMS,
    TOPICS,
    AuthSet,
    DisplaySubscribe,
    EventsSubscribe,
    GalleryList,
    Hello,
    NoParams,
    OneJob,
    reader,
)
from materializer.ipc.jsonlines import INVALID_PARAMS, RpcError


def test_what_a_client_sends_becomes_typed_parameters() -> None:
    assert reader(Hello)({"client": "app", "protocol": 1}) == Hello(
        client="app", protocol=1
    )
    assert reader(OneJob)({"jobId": "j1"}).job_id == "j1"
    long = "j" * 4096
    assert reader(OneJob)({"jobId": long}).job_id == long
    with pytest.raises(RpcError):
        reader(OneJob)({"jobId": f"{long}j"})
    page = reader(GalleryList)({"kind": "video", "jobId": "j1", "cursor": None})
    assert (page.limit, page.kind, page.job_id, page.cursor) == (
        50,
        "video",
        "j1",
        None,
    )
    assert reader(DisplaySubscribe)({"consumer": "app"}).after is None


@pytest.mark.parametrize("method", sorted(PARAMS))
def test_unknown_members_are_ignored(method: str) -> None:
    known: dict[str, Any] = {
        "client": "app",
        "protocol": 1,
        "consumer": "app",
        "seq": 4,
        "jobId": "j1",
        "id": "j1_0",
        "suppressed": True,
        "token": "t",
        "number": 1,
        "forMs": 0,
    }
    read = reader(PARAMS[method])
    assert read({**known, "later": {"x": []}}) == read(known)


def test_every_topic_can_be_asked_for() -> None:
    asked = reader(EventsSubscribe)({"topics": sorted(TOPICS)})
    assert asked.topics == [
        "auth",
        "download",
        "feed",
        "gallery",
        "job",
        "notification",
    ]
    assert reader(EventsSubscribe)({}).topics is None


def test_a_method_without_parameters_takes_none_at_all() -> None:
    assert reader(NoParams)(None) == NoParams()
    assert reader(NoParams)({}) == NoParams()


@pytest.mark.parametrize(
    ("method", "sent", "field"),
    [
        ("hello", {"client": "app", "protocol": 2}, "protocol"),
        ("hello", {"protocol": 1}, "client"),
        ("display.subscribe", {"consumer": ""}, "consumer"),
        ("display.subscribe", {"consumer": "a", "after": "5"}, "after"),
        ("display.subscribe", {"consumer": "a", "after": -1}, "after"),
        ("display.subscribe", {"consumer": "a", "page": "file:///bin/sh"}, "page"),
        (
            "display.subscribe",
            {"consumer": "a", "page": "http://127.0.0.1:80/@h"},
            "page",
        ),
        (
            "display.subscribe",
            {"consumer": "a", "page": "http://127.0.0.1:8.h/"},
            "page",
        ),
        ("display.ack", {"consumer": "a", "seq": True}, "seq"),
        ("display.ack", {"consumer": "a", "seq": 10**30}, "seq"),
        ("events.subscribe", {"topics": ["weather"]}, "topics.0"),
        ("gallery.list", {"limit": 501}, "limit"),
        ("gallery.list", {"limit": 0}, "limit"),
        ("gallery.list", {"kind": "poem"}, "kind"),
        ("gallery.list", {"search": "\ud800"}, "search"),
        ("gallery.list", {"capability": "x" * 4097}, "capability"),
        ("display.ack", {"consumer": "\udfff", "seq": 1}, "consumer"),
        ("job.get", {"job_id": "snake"}, "jobId"),
        ("auth.set", {"token": ""}, "token"),
        ("daemon.status", [1], "params"),
        ("daemon.status", "x", "params"),
    ],
)
def test_a_wrong_field_is_named(method: str, sent: Any, field: str) -> None:
    with pytest.raises(RpcError, match=rf"^{field}: ") as refusal:
        reader(PARAMS[method])(sent)
    assert refusal.value.rpc_code == INVALID_PARAMS


def test_a_token_is_neither_shown_nor_told_in_an_error() -> None:
    assert "hunter2" not in repr(reader(AuthSet)({"token": "hunter2"}))
    with pytest.raises(RpcError) as refusal:
        reader(AuthSet)({"token": ["hunter2"]})
    assert "hunter2" not in str(refusal.value)
