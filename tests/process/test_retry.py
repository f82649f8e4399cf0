"""`stella-materializer retry`, from outside."""

from __future__ import annotations

from origin import Origin
from process.house import MATERIALIZER, App, House, png

RETRY = (*MATERIALIZER, "retry")


async def test_what_failed_is_tried_at_once_and_the_rest_is_told_of(
    house: House, source: Origin
) -> None:
    house.finish_picture("here", seconds_ago=9)
    busy = "503 Service Unavailable", "Content-Length: 0", "Retry-After: 3600"
    url = source.raw("/torn.png", *busy)
    house.finish("torn", {"images": [{"url": url}]})
    async with house.daemon(), App(house.state) as app:
        await app.event("job", jobId="torn", state="pending")
        source.serve("/torn.png", png("torn"))
        lost = await house.order({"capability": "text_to_3d", "prompt": "[fail: No.]"})
        await app.event("job", jobId=lost, state="failed")
        end = await house.command(*RETRY, "here", "nothing", lost, "torn")
        assert end.code == 1
        here, torn = end.out.splitlines()
        assert here == "here: done"
        assert torn in ("torn: pending", "torn: fetching", "torn: done")
        unknown, failed = end.err.splitlines()
        assert unknown == "nothing: no such job is known here"
        assert failed.startswith(f"{lost}: the job failed where it was made")
        await app.event("job", jobId="torn", state="done")
        again = await house.command(*RETRY, "torn")
        assert (again.code, again.out, again.err) == (0, "torn: done\n", "")
    assert house.files() == ["here_0.png", "torn_0.png"]


async def test_without_a_daemon_it_says_so(house: House) -> None:
    end = await house.command(*RETRY, "j")
    assert (end.code, end.out) == (1, "")
    assert "stella-materializer run" in end.err


async def test_it_needs_a_sign_in_and_a_job(house: House) -> None:
    token = house.root / "token"
    token.write_text(house.backend.token())
    house.finish("torn", {"images": [{"url": "http://10.0.0.1/x.png"}]})
    async with house.daemon(token_file=token), App(house.state) as app:
        await app.event("job", jobId="torn", state="failed")
        token.write_text("")
        await app.event("feed", state="signed_out")
        end = await house.command(*RETRY, "torn")
    assert (end.code, end.out) == (77, "")
    assert "nobody is signed in" in end.err
    end = await house.command(*RETRY)
    assert (end.code, end.out) == (2, "")
    assert "JOB_ID" in end.err
