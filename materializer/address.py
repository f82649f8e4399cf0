"""URLs and hosts, as people write them.

Each function raises `ValueError` whose text completes "it should be ...".
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit, urlunsplit

_ODD = re.compile(r"[\s\x00-\x1f?#@\\]")
_HOST = re.compile(r"[\w.-]+(:\d+)?|\[[0-9a-fA-F:.]+\](:\d+)?", re.ASCII)


def convex_url(value: object) -> str:
    """Return a deployment's URL without trailing slashes."""
    url = _url(value, ("http", "https", "ws", "wss"))
    if (urlsplit(url).hostname or "").endswith(".convex.site"):
        raise ValueError("the deployment's .convex.cloud URL; .convex.site is its site")
    return url


def site_url(value: object) -> str:
    """Return the gateway's URL, cut before `/api/stella`; https unless loopback."""
    parts = urlsplit(_url(value, ("http", "https")))
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("an https URL, since the token is sent there")
    path = re.sub(r"/api/stella(/.*)?$", "", parts.path)
    return urlunsplit(parts._replace(path=path))


def private_hosts(value: object) -> frozenset[tuple[str, int | None]]:
    """Return (host, port) pairs of a comma list; a port of None means any."""
    entries = (entry.strip() for entry in str(value).split(","))
    return frozenset(_host(entry) for entry in entries if entry)


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address can only mean this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _url(value: object, schemes: tuple[str, ...]) -> str:
    text = str(value).strip()
    parts = _split(text)
    # The splitting drops line breaks in silence, so the text itself is looked at.
    if parts is None or parts.scheme not in schemes or _ODD.search(text):
        kinds = f"{', '.join(schemes[:-1])} or {schemes[-1]}"
        raise ValueError(f"an {kinds} URL with a host, and no credentials or query")
    return urlunsplit(parts._replace(path=parts.path.rstrip("/")))


def _host(entry: str) -> tuple[str, int | None]:
    bare_address = entry.count(":") > 1 and "[" not in entry
    parts = _split(f"//[{entry}]" if bare_address else f"//{entry}")
    if parts is None or any(parts[2:]) or not re.fullmatch(_HOST, parts.netloc):
        raise ValueError("a comma list of exact hosts, each optionally with :port")
    return parts.hostname or "", parts.port


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None
