import pytest

from materializer import address


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://happy-otter-1.convex.cloud", "https://happy-otter-1.convex.cloud"),
        ("wss://example.test/", "wss://example.test"),
        ("ws://127.0.0.1:3210", "ws://127.0.0.1:3210"),
        (" HTTP://[::1]:3210/base// ", "http://[::1]:3210/base"),
    ],
)
def test_a_deployment_is_taken_without_trailing_slashes(written: str, url: str) -> None:
    assert address.convex_url(written) == url


@pytest.mark.parametrize(
    "written",
    [
        "",
        "example.test",
        "ftp://example.test",
        "https://",
        "https://:443",
        "https://example.test:port",
        "https://example.test:0",
        "https://user:password@example.test",
        "https://example.test?key=1",
        "https://example.test/#part",
        "https://exam\nple.test",
        "https://[::1",
    ],
)
def test_no_deployment_is_guessed(written: str) -> None:
    with pytest.raises(ValueError, match="an http, https, ws or wss URL with a host"):
        address.convex_url(written)


def test_the_site_is_not_taken_for_the_deployment() -> None:
    with pytest.raises(ValueError, match="\\.convex\\.cloud"):
        address.convex_url("https://happy-otter-1.convex.site")


@pytest.mark.parametrize(
    "written",
    [
        "https://example.test",
        "https://example.test/",
        "https://example.test/api/stella/v1/runtime",
        "https://example.test/api/stella/models",
        "https://example.test/api/stella/relay/chat/completions",
        "  https://example.test//  ",
    ],
)
def test_a_site_is_cut_before_the_paths_of_its_services(written: str) -> None:
    assert address.site_url(written) == "https://example.test"


def test_a_site_keeps_a_path_that_only_looks_like_a_service() -> None:
    assert (
        address.site_url("https://example.test/api/stellar")
        == "https://example.test/api/stellar"
    )


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.9.9.9", "[::1]"])
def test_a_site_on_this_machine_may_be_plain(host: str) -> None:
    assert address.site_url(f"http://{host}:8080/") == f"http://{host}:8080"


@pytest.mark.parametrize("host", ["example.test", "192.168.0.2", "localhost.test"])
def test_a_site_elsewhere_must_be_encrypted(host: str) -> None:
    with pytest.raises(ValueError, match="an https URL, since the token is sent"):
        address.site_url(f"http://{host}")


def test_private_hosts_are_exact_and_may_have_a_port() -> None:
    written = "localhost, NAS.local:8443 ,127.0.0.1,[fd00::1]:80,fd00::2,"

    assert address.private_hosts(written) == {
        ("localhost", None),
        ("nas.local", 8443),
        ("127.0.0.1", None),
        ("fd00::1", 80),
        ("fd00::2", None),
    }


@pytest.mark.parametrize(
    "written", ["*.local", "http://localhost", "a b", "me@host", "host/path", "h:0"]
)
def test_no_private_host_is_guessed(written: str) -> None:
    with pytest.raises(ValueError, match="a comma list of exact hosts"):
        address.private_hosts(written)
