"""What is fuzzed: each target takes any bytes, as one who means ill might send them.

A target raises when something happens that must not. Beside computing it may only
write in the scratch directory that it is given.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path

from convex_play import AB, Play, live, token
from fuzz.confinement import confined
from fuzz.far_end import SECRET, fetched, resolved
from fuzz.judging import (
    ME,
    damaged,
    gallery_of_ours,
    judge,
    look_at,
    named,
    read,
    require_plain,
    sound,
    use,
)
from materializer import address, config, naming, rows
from materializer.convex import events
from materializer.credentials import Grant
from materializer.errors import (
    FetchError,
    GalleryUnusable,
    PeerMisspoke,
    SettingsInvalid,
)
from materializer.fetch import headers
from materializer.fetch.guard import Guard, Route, special_range
from materializer.gallery import Gallery, items, outbox
from materializer.gallery.items import Wanted
from materializer.ipc import contract
from materializer.ipc.jsonlines import Decoder, Request, RpcError, answer
from materializer.model import Inline, Job, Output, Remote
from materializer.retry import retry_at
from materializer.sniff import HEAD, sniff
from materializer.structure import flaw
from simulation.memory import in_memory

Target = Callable[[bytes, Path], None]


def run(target: Target, data: bytes) -> None:
    """Let a target take some bytes, in a directory of its own that is then removed."""
    with in_memory() as scratch:
        _ready()
        with confined(scratch):
            target(data, scratch)


@cache
def _ready() -> None:
    """Load what is loaded at first use, which opens files of its own."""
    with in_memory() as scratch:
        fetched(b"\0HTTP/1.1 200 OK\r\n\r\nx", scratch)
    gallery_of_ours()
    sound()


def message(data: bytes, _: Path) -> None:
    """Messages of the deployment, one a line; an empty line is a lost connection."""
    play: Play = live(AB)
    for line in data.split(b"\n")[:50]:
        if not line:
            _serve(play, play(events.Closed("it was lost")))
            if play.session.wake_at < math.inf:
                _serve(play, play.wakes())
            continue
        text = line.decode("utf-8", "surrogateescape")
        try:
            text.encode()
        except UnicodeEncodeError:
            continue  # websockets gives no such text
        _serve(play, play(events.Received(text)))
    assert play.session.wake_at > play.mono - 1
    assert play.session.last_error is None or len(play.session.last_error) < 1000


def _serve(play: Play, effects: list[events.Effect]) -> None:
    for effect in effects:
        match effect:
            case events.NeedToken():
                _serve(play, play(events.TokenChanged(token())))
            case events.Connect():
                _serve(play, play(events.Opened()))
            case events.Send(text):
                json.loads(text)
            case events.Deliver():
                look_at(effect)
            case _:
                pass


def row(data: bytes, _: Path) -> None:
    """A job's row, from the feed and from the gateway: read, planned, told of."""
    found = read(data)
    deliver = events.Deliver(ME.owner, {"succeeded": [found], "failed": [found]}, True)
    look_at(deliver)
    try:
        # The gateway's JSON can spell half a surrogate pair, the feed's cannot.
        job = rows.read_job(json.loads(data))
    except (ValueError, RecursionError):
        return
    judge(job)


def output(data: bytes, _: Path) -> None:
    """A job's output."""
    judge(Job("job", "succeeded", "text_to_image", output=read(data)))


def response(data: bytes, scratch: Path) -> None:
    """Answers of a source, as they come out of the socket."""
    fetched(data, scratch)
    assert not {p.name for p in scratch.iterdir()} - {"job_0.part", "job_0.part.json"}


def header(data: bytes, _: Path) -> None:
    """Headers of an answer."""
    told = {}
    for line in data.decode("latin-1").split("\n"):
        name, _colon, value = line.partition(":")
        told[name.strip().lower()] = value.strip()
    body = headers.announced(told, total=headers.length(told))
    assert body.sha256 is None or len(body.sha256) == 64
    found = headers.content_range(told)
    assert found is None or 0 <= found[0] < found[1]
    wait = headers.retry_after(told)
    if wait is not None:
        again = retry_at(1, now=0, chance=0.5, retry_after=wait)
        assert again is not None
        assert 0 < again <= 3_600_000


def url(data: bytes, _: Path) -> None:
    """A link to an output, and an address that a person or a token file gives."""
    text = data.decode("utf-8", "replace")
    for link in (text, f"{text}/{SECRET}", f"https://x.test/{text}"):
        route: Route | FetchError
        try:
            with resolved():
                route = Guard().vet(link)
        except FetchError as error:
            route = error
        if isinstance(route, FetchError):
            assert SECRET not in str(route)
            continue
        assert all(special_range(ip) is None for ip in route.addresses)
        assert route.scheme in {"http", "https"}
        assert route.host.isascii()
        assert not set(route.host) & set("/@?#\\ ")
        assert 0 < route.port < 65536
        assert route.target.startswith("/")
        assert route.target.isascii()
        assert route.target.isprintable()
        assert " " not in route.target
    for reader in (address.convex_url, address.site_url, address.private_hosts):
        with suppress(ValueError):
            reader(text)
    named(Output(0, "image", Remote(text), file_name=text, mime_type=text), None)


def file(data: bytes, _: Path) -> None:
    """A file from its head on: what it is, how large, whether it is whole."""
    media = sniff(data[:HEAD])
    asked = 0

    def part(at: int, count: int) -> bytes:
        nonlocal asked
        assert 0 <= at <= len(data)
        assert 0 < count <= len(data) - at
        asked += 1
        return data[at : at + count]

    if media is not None:
        for number in (media.width, media.height, media.duration_ms):
            assert number is None or 0 <= number < 2**53
        said = flaw(media, len(data), part)
        assert said is None or said.isprintable()
    named(Output(0, "download", Inline(data)), media)
    assert asked <= 200_000


def ipc(data: bytes, _: Path) -> None:
    """Lines of a client, and what the gallery is then asked."""
    decoder = Decoder()
    half = len(data) // 2
    for found in (*decoder.feed(data[:half]), *decoder.feed(data[half:] + b"\n")):
        if isinstance(found, PeerMisspoke):
            assert len(str(found)) < 200
            continue
        assert isinstance(found, Request)
        answer(found.id, None)
        model = contract.PARAMS.get(found.method)
        if model is not None:
            with suppress(RpcError):
                _ask(contract.reader(model)(found.params))


def _ask(params: contract.Params) -> None:
    db = gallery_of_ours()._db
    match params:
        case contract.GalleryList():
            with suppress(ValueError, OverflowError):  # the method says so in words
                items.page(db, ME.owner, Wanted(**asdict(params)))
        case contract.OneItem() | contract.GalleryRemove():
            items.get(db, ME.owner, params.id)
        case contract.OneJob():
            items.record(db, ME.owner, params.job_id)
            require_plain(naming.stem(params.job_id))
        case contract.DisplayAck():
            outbox.acknowledge(db, params.consumer, ME.owner, params.seq)
        case contract.DisplaySubscribe():
            outbox.acknowledged(db, params.consumer, ME.owner)
            outbox.after(db, ME.owner, params.after or 0, 10)
        case _:
            pass


def grant(data: bytes, _: Path) -> None:
    """A token file."""
    text = data.decode("utf-8", "replace")
    shown, found = "", None
    try:
        given = Grant.read(text, "the token file")
        shown = repr(given)
        found = given.token
    except SettingsInvalid as error:
        shown += str(error)
    assert len(text) < 40 or text not in shown
    if found is not None:
        assert found.good_for(1.8e9) >= 10
        found.expiring(1.8e9)


def settings(data: bytes, scratch: Path) -> None:
    """A config file."""
    path = scratch / "config.toml"
    path.write_bytes(data)
    flags = {"config": str(path), "state_dir": str(scratch / "state")}
    told: config.Settings | SettingsInvalid
    try:
        told = config.load(flags, {})
    except SettingsInvalid as error:
        told = error
    if isinstance(told, SettingsInvalid):
        assert "\n" not in str(told).strip()
        return
    assert told.paths.outputs.is_relative_to(scratch)
    for seconds in (told.fresh_window, told.idle_timeout, told.first_run_lookback):
        assert 0 <= int(seconds * 1000) < 2**63
    assert told.max_per_host > 0


def database(data: bytes, scratch: Path) -> None:
    """A gallery.db in which some bytes are other ones, or that is something else."""
    path, files = scratch / "gallery.db", scratch / "outputs"
    path.write_bytes(damaged(data))
    try:
        gallery = Gallery.open(path, files, mend=True)
    except GalleryUnusable as error:
        # What has the number of a newer version, and tables that are not ours.
        if "newer version" in str(error):
            return
        raise
    asyncio.run(use(gallery))


TARGETS: dict[str, Target] = {
    "message": message,
    "row": row,
    "output": output,
    "response": response,
    "header": header,
    "url": url,
    "file": file,
    "ipc": ipc,
    "token": grant,
    "config": settings,
    "database": database,
}
