from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from display.conftest import Visit
from home import at_home
from materializer.config import Paths
from materializer.display.app import DisplayPage

SAME = {"Sec-Fetch-Site": "same-origin"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob: data:; media-src 'self'; connect-src 'self';"
    " worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'none'"
)


async def test_the_address_buys_one_cookie_and_is_refused_from_then_on(
    state: Path,
) -> None:
    async with (
        at_home(state),
        DisplayPage(Paths.of(state)) as page,
        httpx.AsyncClient(trust_env=False) as browser,
    ):
        # Those who only look where a link leads leave it good.
        assert (await browser.head(page.url)).status_code == 403
        wrong = await browser.get(page.url[:-1])
        assert wrong.status_code == 403

        entered = await browser.get(page.url)
        assert (entered.status_code, entered.headers["location"]) == (303, "/")
        name, *attributes = entered.headers["set-cookie"].split("; ")
        assert name.startswith(f"stella-display-{httpx.URL(page.url).port}=")
        assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=strict"]
        assert httpx.URL(page.url).params["key"] not in str(entered.headers)

        for again in (browser, httpx.AsyncClient(trust_env=False)):
            used = await again.get(page.url)
            assert used.status_code == 403
            assert "has been used" in used.text
            assert "Start `stella-materializer display` again" in used.text
            assert "set-cookie" not in used.headers
            await again.aclose()


async def test_a_browser_that_was_not_let_in_sees_nothing(visit: Visit) -> None:
    cookie = next(iter(visit.browser.cookies))
    async with visit.stranger() as stranger:
        for shown in (None, "", "guessed"):
            if shown is not None:
                stranger.cookies.set(cookie, shown)
            for path in ("/", "/static/app.js", "/media/a_0", "/thumbnail/a_0", "/no"):
                refused = await stranger.get(path, headers=SAME)
                assert refused.status_code == 403, path
                assert refused.headers["content-type"] == "text/html; charset=utf-8"
                assert "has not been let in" in refused.text
            for path in ("/api/state", "/api/events"):
                refused = await stranger.get(path, headers=SAME)
                assert (refused.status_code, list(refused.json())) == (403, ["error"])


async def test_a_name_that_was_bound_to_our_address_is_not_ours(visit: Visit) -> None:
    for host in (
        f"evil.test:{visit.port}",
        f"localhost.evil.test:{visit.port}",
        "127.0.0.1",
        "127.0.0.1:1",
        f"127.0.0.2:{visit.port}",
        f"[::1]:{visit.port}",
        f"evil.test/?:{visit.port}",
        "[",
        "",
    ):
        for path in ("/", "/api/state", "/media/a_0"):
            headers = {"Host": host, **SAME}
            refused = await visit.browser.get(path, headers=headers)
            assert refused.status_code == 403, host
            assert "does not belong to the page" in refused.text


async def test_a_request_without_a_host_is_refused(visit: Visit) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", visit.port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert answer.startswith(b"HTTP/1.1 403 ")


async def test_the_address_is_refused_and_not_used_up_under_another_name(
    state: Path,
) -> None:
    async with (
        at_home(state),
        DisplayPage(Paths.of(state)) as page,
        httpx.AsyncClient(trust_env=False) as browser,
    ):
        rebound = await browser.get(page.url, headers={"Host": "evil.test"})
        assert rebound.status_code == 403
        entered = await browser.get(page.url.replace("127.0.0.1", "localhost"))
        assert entered.status_code == 303


async def test_only_our_own_page_may_post(visit: Visit) -> None:
    """Sec-Fetch-Site does not stand for an Origin here: browsers always send that."""
    strange = [
        {},
        SAME,
        {"Origin": "null"},
        {"Origin": "http://evil.test"},
        {"Origin": f"http://127.0.0.1:{visit.port + 1}"},
        {"Origin": f"http://localhost:{visit.port}"},  # not where this page is
        {"Origin": f"https://127.0.0.1:{visit.port}"},
    ]
    for path in ("/api/item/remove", "/api/item/reveal", "/api/job/retry"):
        for headers in strange:
            refused = await visit.browser.post(path, json={"id": "a"}, headers=headers)
            assert refused.status_code == 403
            assert refused.json() == {"error": "Another page asked for this."}
        ours = await visit.post(path, id="none", jobId="none")
        assert ours.status_code == 404


async def test_only_our_own_page_may_listen(visit: Visit) -> None:
    strange = [
        {},
        {"Origin": "http://evil.test"},
        {"Origin": "null", **SAME},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ]
    for headers in strange:
        refused = await visit.browser.get("/api/events", headers=headers)
        assert refused.status_code == 403
    for headers in ({"Origin": visit.address}, SAME):
        async with visit.browser.stream(
            "GET", "/api/events", headers=headers
        ) as stream:
            assert stream.status_code == 200


async def test_a_page_on_another_port_or_site_gets_nothing_with_our_cookie(
    visit: Visit,
) -> None:
    strange = [
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://evil.test"},
    ]
    for path in ("/api/state", "/media/a_0", "/static/app.js"):
        for headers in strange:
            refused = await visit.browser.get(path, headers=headers)
            assert refused.status_code == 403
        for headers in ({}, SAME, {"Sec-Fetch-Site": "none"}):
            answer = await visit.browser.get(path, headers=headers)
            assert answer.status_code in (200, 404)


async def test_a_link_to_the_page_can_stand_anywhere(visit: Visit) -> None:
    followed = await visit.browser.get("/", headers={"Sec-Fetch-Site": "cross-site"})
    assert followed.status_code == 200


async def test_every_answer_says_what_browsers_may_do_with_it(visit: Visit) -> None:
    asked = [
        ("GET", "/", 200),
        ("GET", visit.page.url, 403),
        ("GET", "/api/state", 200),
        ("GET", "/api/item?id=none", 404),
        ("GET", "/media/none", 404),
        ("GET", "/static/none", 404),
        ("GET", "/none", 404),
        ("DELETE", "/", 405),
    ]
    for method, path, status in asked:
        origin = {"Origin": visit.address}
        answer = await visit.browser.request(method, path, headers=origin)
        assert answer.status_code == status, path
        told = answer.headers
        assert told["content-security-policy"] == POLICY
        assert told["x-content-type-options"] == "nosniff"
        assert told["referrer-policy"] == "no-referrer"
        assert told["cross-origin-resource-policy"] == "same-origin"
        assert told["cache-control"] in ("no-store", "no-cache")
        assert "server" not in told
