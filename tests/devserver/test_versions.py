from __future__ import annotations

import pytest

from materializer.devserver.versions import ClientVersion, from_header, from_path


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("npm-1.48.0", "npm", (1, 48, 0, True)),
        ("NPM-CLI-1.2.3", "npm-cli", (1, 2, 3, True)),
        ("npm-1.0.0-alpha.1", "npm", (1, 0, 0, False)),
        ("python-0.8.1+build-7", "python", (0, 8, 1, True)),
        ("some-body-else", "some", None),
        ("python-1.2", "python", None),
    ],
)
def test_a_header_names_the_client_and_its_version(
    text: str, name: str, version: object
) -> None:
    assert from_header(text) == ClientVersion(name, version)  # type: ignore[arg-type]


def test_a_header_without_a_version_is_none() -> None:
    with pytest.raises(ValueError, match="looks like"):
        from_header("npm")


def test_a_version_in_the_path_is_that_of_an_npm_client() -> None:
    assert from_path("1.48.0") == ClientVersion("npm", (1, 48, 0, True))
    for text in ("abc", "1.2", "1.2.3.4", "v1.2.3", "1.2.3 "):
        with pytest.raises(ValueError, match="no semver"):
            from_path(text)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("npm-0.19.1", "Unsupported"),
        ("npm-0.19.2", None),
        ("npm-cli-0.1.0", "Unsupported"),
        ("actions-0.19.1-alpha", "Unsupported"),
        ("python-0.0.2", "Unsupported"),
        ("python-0.0.3", "UpgradeRequired"),
        ("python-0.2.0", "UpgradeRequired"),
        ("python-0.2.1", None),
        ("rust-0.0.1", "Unsupported"),
        ("rust-0.10.4", None),
        ("stella-materializer-0.0.1", None),
        ("python-something", None),
    ],
)
def test_old_clients_are_told_to_be_renewed(text: str, state: str | None) -> None:
    client = from_header(text)
    assert client.deprecation.get("x-convex-deprecation-state") == state
    assert client.unsupported == (state == "Unsupported")


def test_only_newer_npm_clients_take_chunks() -> None:
    for text in ("npm-1.28.0", "npm-1.28.1-alpha", "npm-2.0.0"):
        assert from_header(text).takes_chunks
    for text in ("npm-1.28.0-alpha", "npm-1.27.9", "python-2.0.0", "npm-x"):
        assert not from_header(text).takes_chunks
    assert not ClientVersion().takes_chunks


def test_only_old_clients_expect_encoded_values() -> None:
    for text in ("npm-1.4.1", "python-0.5.0"):
        assert from_header(text).default_format == "convex_encoded_json"
    for text in ("npm-1.4.2", "python-0.5.1", "rust-0.0.1", "curl-1.0.0"):
        assert from_header(text).default_format == "json"
    assert ClientVersion().default_format == "json"
