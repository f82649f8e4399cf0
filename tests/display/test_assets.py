from __future__ import annotations

from pathlib import Path

import pytest

from display.conftest import Visit
from materializer.display import assets


@pytest.fixture(autouse=True)
def static(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    static = tmp_path / "static"
    (static / "vendor").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>")
    (static / "vendor" / "three.js").write_text("export {};")
    (static / "page.css").write_text("p {}")
    (static / "icon.svg").write_text("<svg/>")
    (static / "LICENSE").write_text("MIT")
    (tmp_path / "secret").write_text("secret")
    monkeypatch.setattr(assets, "_STATIC", static)
    return static


async def test_each_file_is_served_as_what_it_is(visit: Visit, static: Path) -> None:
    types = {
        "/": "text/html; charset=utf-8",
        "/static/vendor/three.js": "text/javascript; charset=utf-8",
        "/static/page.css": "text/css; charset=utf-8",
        "/static/icon.svg": "image/svg+xml",
        "/static/LICENSE": "application/octet-stream",
    }
    for path, type_ in types.items():
        served = await visit.browser.get(path)
        assert (served.status_code, served.headers["content-type"]) == (200, type_)
        name = "index.html" if path == "/" else path.removeprefix("/static/")
        assert served.content == (static / name).read_bytes()


async def test_a_file_is_sent_again_only_when_it_has_changed(
    visit: Visit, static: Path
) -> None:
    etag = (await visit.browser.get("/")).headers["etag"]
    known = {"If-None-Match": f'"other", W/{etag}'}
    same = await visit.browser.get("/", headers=known)
    assert (same.status_code, same.content) == (304, b"")
    assert same.headers["cache-control"] == "no-cache"
    (static / "index.html").write_text("<!doctype html>new")
    changed = await visit.browser.get("/", headers=known)
    assert (changed.status_code, changed.text) == (200, "<!doctype html>new")


async def test_nothing_else_is_served(visit: Visit) -> None:
    for path in ("none", "", "vendor", "../secret", "%2e%2e/secret", "..%2Fsecret"):
        served = await visit.browser.get(f"/static/{path}")
        assert (served.status_code, "secret" in served.text) == (404, False)
