"""Who may ask the page's server, and what browsers may do with an answer.

Any page in the person's browser can send requests to a port of this computer. So each
one must name us as its host, which a name that was bound to our address does not; must
show the cookie; and must come from our own page, of which browsers tell: the cookie
alone does not, since to it every port of this computer is one site.
"""

from __future__ import annotations

from html import escape

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from materializer.display.session import Session

EVENTS = "/api/events"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self';"
        " img-src 'self' blob: data:; media-src 'self'; connect-src 'self';"
        " worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'none';"
        " form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_AGAIN = "Start `stella-materializer display` again and open the address it prints."


class Door:
    """Lets the one browser through to `app`, and puts the headers on every answer.

    Args:
        port: of 127.0.0.1, where the page is served.
    """

    def __init__(self, app: ASGIApp, session: Session, port: int) -> None:
        self._app = app
        self._session = session
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        # Cookies know no ports, and there may be a page for another state directory.
        self._cookie = f"stella-display-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; ASGI."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        inside = self._receive(Request(scope)) or self._app
        await inside(scope, receive, answer)

    def _receive(self, request: Request) -> Response | None:
        """Return what to say at the door; None lets the request through."""
        host = request.headers.get("host")
        if host not in self._hosts:
            return _refusal(request, "This address does not belong to the page.")
        key = request.query_params.get("key")
        if key is not None and (request.method, request.scope["path"]) == ("GET", "/"):
            return self._exchange(request, key)
        if not self._session.knows(request.cookies.get(self._cookie)):
            return _refusal(request, f"This browser has not been let in. {_AGAIN}")
        if not _is_from(request, f"http://{host}"):
            return _refusal(request, "Another page asked for this.")
        return None

    def _exchange(self, request: Request, key: str) -> Response:
        if not self._session.redeem(key):
            return _refusal(
                request, f"This address works once, and has been used. {_AGAIN}"
            )
        response = RedirectResponse("/", 303)
        response.set_cookie(
            self._cookie, self._session.cookie, httponly=True, samesite="strict"
        )
        return response


def _is_from(request: Request, page: str) -> bool:
    """Whether the browser says that our own page, or the person, asks for this."""
    path, origin = request.scope["path"], request.headers.get("origin")
    if origin is not None or request.method not in ("GET", "HEAD"):
        return origin == page
    site = request.headers.get("sec-fetch-site")
    if path == EVENTS:  # with which browsers send an Origin only to other sites
        return site == "same-origin"
    return site in (None, "same-origin", "none") or path == "/"


def _refusal(request: Request, say: str) -> Response:
    if request.scope["path"].startswith("/api/"):
        return JSONResponse({"error": say}, 403)
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>Not here</title><h1>Not here</h1><p>{escape(say)}</p></html>"
    )
    return HTMLResponse(page, 403)
