from __future__ import annotations

import base64
import os

import pytest

from materializer.errors import FetchUnavailable
from materializer.fetch.proxies import Proxy, proxy_for

PLAIN = Proxy("proxy.example", 3128, tls=False)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without proxies, to be filled; the system has none either."""
    for name in os.environ:
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    monkeypatch.setenv("NO_PROXY", "unrelated.example")
    return monkeypatch


def https(host: str = "files.example", port: int = 443) -> Proxy | None:
    return proxy_for("https", host, port)


def test_without_a_proxy_the_connection_is_direct() -> None:
    assert https() is None
    assert proxy_for("http", "files.example", 80) is None


@pytest.mark.parametrize(
    ("name", "for_http", "for_https"),
    [
        ("HTTP_PROXY", PLAIN, None),
        ("http_proxy", PLAIN, None),
        ("HTTPS_PROXY", None, PLAIN),
        ("https_proxy", None, PLAIN),
        ("ALL_PROXY", PLAIN, PLAIN),
        ("all_proxy", PLAIN, PLAIN),
        ("FTP_PROXY", None, None),
    ],
)
def test_a_variable_sets_the_proxy_of_its_scheme(
    environment: pytest.MonkeyPatch,
    name: str,
    for_http: Proxy | None,
    for_https: Proxy | None,
) -> None:
    environment.setenv(name, "http://proxy.example:3128")

    assert proxy_for("http", "files.example", 80) == for_http
    assert https() == for_https


def test_the_variable_of_the_scheme_goes_before_the_one_for_all(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("ALL_PROXY", "http://other.example:1")
    environment.setenv("HTTPS_PROXY", "http://proxy.example:3128")

    assert https() == PLAIN


@pytest.mark.skipif(os.name == "nt", reason="names of variables have no case there")
def test_lower_case_goes_before_upper_case(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("https_proxy", "http://proxy.example:3128")
    environment.setenv("HTTPS_PROXY", "http://other.example:1")

    assert https() == PLAIN


def test_the_systems_own_settings_are_taken(environment: pytest.MonkeyPatch) -> None:
    settings = {"https": "http://proxy.example:3128"}
    environment.setattr("materializer.fetch.proxies.getproxies", lambda: settings)

    assert https() == PLAIN


@pytest.mark.parametrize(
    ("written", "proxy"),
    [
        ("http://proxy.example:3128/", PLAIN),
        ("HTTP://Proxy.Example:3128", PLAIN),
        ("proxy.example:3128", PLAIN),
        ("http://proxy.example", Proxy("proxy.example", 80, tls=False)),
        ("proxy.example", Proxy("proxy.example", 80, tls=False)),
        ("https://proxy.example", Proxy("proxy.example", 443, tls=True)),
        ("https://proxy.example:8443", Proxy("proxy.example", 8443, tls=True)),
        ("http://10.0.0.1:3128", Proxy("10.0.0.1", 3128, tls=False)),
        ("http://localhost:3128", Proxy("localhost", 3128, tls=False)),
        ("http://[fd00::1]:3128", Proxy("fd00::1", 3128, tls=False)),
    ],
)
def test_a_proxy_is_read_as_people_write_it(
    environment: pytest.MonkeyPatch, written: str, proxy: Proxy
) -> None:
    environment.setenv("HTTPS_PROXY", written)
    assert https() == proxy


@pytest.mark.parametrize(
    ("written", "credentials"),
    [
        ("http://me:secret@proxy.example:3128", b"me:secret"),
        ("me:secret@proxy.example:3128", b"me:secret"),
        ("http://me@proxy.example:3128", b"me:"),
        ("http://m%40e:s%3A%2F%40%25@proxy.example:3128", b"m@e:s:/@%"),
        ("http://me:s:e@c@proxy.example:3128", b"me:s:e@c"),
        ("http://m%C3%BC:%E2%98%83@proxy.example:3128", "mü:☃".encode()),
    ],
)
def test_credentials_become_a_header_and_stay_out_of_sight(
    environment: pytest.MonkeyPatch, written: str, credentials: bytes
) -> None:
    environment.setenv("HTTPS_PROXY", written)

    proxy = https()

    assert proxy is not None
    assert (proxy.host, proxy.port) == ("proxy.example", 3128)
    word, _, encoded = (proxy.authorization or "").partition(" ")
    assert word == "Basic"
    assert base64.b64decode(encoded) == credentials
    assert encoded not in repr(proxy)
    assert "secret" not in repr(proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("*", "files.example", 443),
        ("files.example", "files.example", 443),
        ("other.example, FILES.example", "files.example", 443),
        ("example", "files.example", 443),
        (".files.example", "a.files.example", 443),
        ("files.example:8443", "files.example", 8443),
        ("10.0.0.1", "10.0.0.1", 80),
        ("2606:4700::1", "2606:4700::1", 443),
    ],
)
def test_a_host_that_no_proxy_names_is_asked_directly(
    environment: pytest.MonkeyPatch, no_proxy: str, host: str, port: int
) -> None:
    environment.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    environment.setenv("NO_PROXY", no_proxy)

    assert https(host, port) is None


@pytest.mark.parametrize(
    ("no_proxy", "host", "port"),
    [
        ("files.example", "myfiles.example", 443),
        ("files.example:8443", "files.example", 443),
        ("a.files.example", "files.example", 443),
        ("10.0.0.1", "10.0.0.10", 80),
        ("2606:4700::1", "2606:4700::2", 443),
        ("1", "2606:4700::1", 1),
        ("", "files.example", 443),
    ],
)
def test_no_other_host_is_asked_directly(
    environment: pytest.MonkeyPatch, no_proxy: str, host: str, port: int
) -> None:
    environment.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    environment.setenv("NO_PROXY", no_proxy)

    assert https(host, port) == PLAIN


@pytest.mark.parametrize("host", ["localhost", "a.localhost", "127.0.0.1", "::1"])
def test_this_machine_is_never_asked_through_a_proxy(
    environment: pytest.MonkeyPatch, host: str
) -> None:
    environment.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert https(host) is None


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4", "ftp", "quic"])
def test_a_proxy_of_another_kind_is_not_usable(
    environment: pytest.MonkeyPatch, scheme: str
) -> None:
    environment.setenv("ALL_PROXY", f"{scheme}://me:secret@proxy.example:1080")

    with pytest.raises(
        FetchUnavailable, match=f"https is a {scheme}: one; set"
    ) as error:
        https()
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "written",
    [
        "http://",
        "http://:3128",
        "http://me:secret@",
        "http://proxy.example:0",
        "http://proxy.example:99999",
        "http://proxy.example:secret",
        "http://[::1:3128",
        "http:/proxy.example:3128",
        "http://proxy.example:3128/secret",
        "http://proxy.example:3128?secret",
        "http://me:se/cret@proxy.example:3128",
        "http://me:12/secret@proxy.example:3128",
        "http://me:1#secret@proxy.example:3128",
        "http://me:1?secret@proxy.example:3128",
        "me:secret",
        f"http://{'a' * 64}.example:3128",
    ],
)
def test_a_proxy_that_cannot_be_read_is_told_without_its_password(
    environment: pytest.MonkeyPatch, written: str
) -> None:
    environment.setenv("HTTPS_PROXY", written)

    with pytest.raises(FetchUnavailable, match="for https cannot be read") as caught:
        https()
    assert "cret" not in str(caught.value)
    assert caught.value.__context__ is None, "the library's error quotes what it read"


def test_a_proxy_that_is_not_needed_may_be_unreadable(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("HTTPS_PROXY", "socks5://proxy.example")
    environment.setenv("NO_PROXY", "files.example")

    assert https() is None
    assert proxy_for("http", "files.example", 80) is None
