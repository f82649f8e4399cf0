"""How a daemon leaves: asked by a signal, a client, its parent, or by itself."""

from __future__ import annotations

import signal
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from materializer.ipc.address import Address
from materializer.ipc.endpoint import endpoint_file
from origin import Origin
from process.house import MATERIALIZER, App, Held, House, png, posix, until

AT_ONCE = 5.0


def traces(state: Path) -> list[str]:
    """Return what tells clients that a daemon listens."""
    there = (endpoint_file(state), Path(Address.usual(state).path))
    return [path.suffix for path in there if path.exists()]


@posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_peace_with_a_download_in_flight(
    house: House, source: Origin, number: signal.Signals
) -> None:
    held = Held(source, "/a.png", png("a"))
    async with house.daemon() as daemon, App(house.state) as app:
        await app.subscribe()
        await app.feed("live")
        house.finish("job", {"images": [{"url": held.url}]})
        await held.halfway()
        assert traces(house.state) == [".json", ".sock"]
        daemon.send(number)
        ended = await daemon.ended(within=AT_ONCE)
    assert (ended.code, ended.out) == (0, "")
    assert "Traceback" not in ended.err
    assert traces(house.state) == []
    assert "job_0.png" not in house.files()
    held.let_go()
    async with house.daemon(), App(house.state) as app:
        await app.subscribe()
        assert (await app.update())["payload"]["jobId"] == "job"
        assert house.files() == ["job_0.png"]


async def test_without_a_log_file_it_serves_and_what_cannot_be_removed_stays(
    house: House,
) -> None:
    log = house.state / "materializer" / "logs" / "materializer.log"
    log.mkdir(parents=True)
    endpoint = house.state / "materializer" / "endpoint.json"
    async with house.daemon() as daemon, App(house.state) as app:
        await app.feed("live")
        endpoint.unlink()
        endpoint.mkdir()
        daemon.send(signal.SIGTERM)
        ended = await daemon.ended(within=AT_ONCE)
    assert (ended.code, ended.out) == (0, "")
    assert "there is no log file" in ended.err
    assert "Traceback" not in ended.err


async def test_a_client_can_end_it(house: House) -> None:
    async with house.daemon() as daemon, App(house.state) as app:
        assert await app.call("daemon.shutdown") == {}
        assert (await daemon.ended(within=AT_ONCE)).code == 0
    assert traces(house.state) == []


async def test_the_end_of_stdin_ends_it_only_when_that_was_asked_for(
    house: House,
) -> None:
    async with house.daemon("--exit-with-parent", stdin=PIPE) as daemon:
        assert (await daemon.ended(within=AT_ONCE)).code == 0
    assert traces(house.state) == []
    async with house.daemon(stdin=PIPE) as daemon, App(house.state) as app:
        daemon.close_stdin()
        await app.call("display.subscribe", consumer="app", after=0)
        house.finish_picture("still")
        assert (await app.update())["payload"]["jobId"] == "still"
        assert (await app.call("daemon.status"))["pid"] == daemon.pid


async def test_a_second_instance_names_the_first_and_leaves_it_alone(
    house: House,
) -> None:
    async with house.daemon() as daemon:
        second = await house.command(*MATERIALIZER, "run")
        assert (second.code, second.out) == (3, "")
        [line] = second.err.splitlines()
        assert f"process {daemon.pid} " in line
        assert str(house.state) in line
        async with App(house.state) as app:
            assert (await app.call("daemon.status"))["pid"] == daemon.pid


async def test_once_leaves_when_everything_has_settled(
    house: House, source: Origin
) -> None:
    held = Held(source, "/slow.png", png("slow"))
    house.finish("slow", {"images": [{"url": held.url}]})
    house.finish_picture("quick")
    async with house.daemon("--once") as daemon, App(house.state) as app:
        await held.halfway()
        await until(lambda: "quick_0.png" in house.files())
        assert (await app.call("job.get", jobId="slow"))["state"] == "fetching"
        held.let_go()
        ended = await daemon.ended()
    assert ended.code == 0
    assert house.files() == ["quick_0.png", "slow_0.png"]


async def test_once_with_nothing_to_do_leaves_at_once(house: House) -> None:
    async with house.daemon("--once") as daemon:
        assert (await daemon.ended()).code == 0


async def test_once_says_that_a_sign_in_is_needed(house: House) -> None:
    missing = house.root / "no-token"
    async with house.daemon("--once", token_file=missing) as daemon:
        ended = await daemon.ended()
    assert ended.code == 77
    assert "signed in" in ended.err.splitlines()[-1]
    assert traces(house.state) == []
