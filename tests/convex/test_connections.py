from __future__ import annotations

import json

import pytest

from materializer.convex.connections import Connections
from materializer.convex.messages import Transition, Version, encode_timestamp
from materializer.errors import FeedMisspoke

NEWS = Transition(Version(), Version(1, 1, 1000))


def said(connections: Connections) -> dict[str, object]:
    message: dict[str, object] = json.loads(connections.open(1.5))
    return message


def test_each_connection_tells_of_those_before_it() -> None:
    connections = Connections("id")
    first = said(connections)
    assert (first["sessionId"], first["clientTs"]) == ("id", 1500)
    assert (first["connectionCount"], first["lastCloseReason"]) == (0, "InitialConnect")
    connections.modify([])
    connections.follow(NEWS)
    connections.end("cut", 0.5, ours=False)
    connections.end("refused", 0.5, ours=False)
    second = said(connections)
    assert (second["connectionCount"], second["lastCloseReason"]) == (1, "cut")
    assert second["maxObservedTimestamp"] == encode_timestamp(1000)
    assert said(connections)["lastCloseReason"] is None


def test_steps_of_the_query_set_start_over_with_each_connection() -> None:
    connections = Connections("id")
    steps = []
    for _ in range(2):
        connections.open(0)
        steps += [json.loads(connections.modify([]))["baseVersion"] for _ in range(2)]
    assert steps == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (Version(0, 1, 0), Version(1, 1, 1)),
        (Version(), Version(2, 1, 1)),
    ],
    ids=["does not follow", "was never asked for"],
)
def test_what_breaks_the_chain_changes_nothing(start: Version, end: Version) -> None:
    connections = Connections("id")
    connections.open(0)
    connections.modify([])
    with pytest.raises(FeedMisspoke):
        connections.follow(Transition(start, end))
    assert connections.version == Version()
    connections.follow(NEWS)
    assert connections.version == NEWS.end


def test_the_wait_grows_until_success() -> None:
    connections = Connections("id")
    assert [connections.end("gone", 0.5, ours=False) for _ in range(3)] == [1, 2, 4]
    connections.succeed()
    assert connections.end("gone", 0.5, ours=False) == 1


@pytest.mark.parametrize(("fresh", "told"), [(True, False), (False, True)])
def test_only_a_server_that_says_nothing_has_lost_its_data(
    fresh: bool, told: bool
) -> None:
    connections = Connections("id")
    connections.open(0)
    connections.modify([])
    connections.follow(NEWS)
    if fresh:
        connections.open(0)
    connections.end("InternalServerError", 0.5, ours=False)
    assert ("maxObservedTimestamp" in said(connections)) == told
