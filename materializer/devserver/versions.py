"""Client versions: who calls, and what that one may still do."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SEMVER = re.compile(
    r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?", re.ASCII
)
# (unsupported up to, upgrade required up to), both inclusive
_OLD = {
    "npm": ((0, 19, 1), (0, 19, 1)),
    "npm-cli": ((0, 19, 1), (0, 19, 1)),
    "actions": ((0, 19, 1), (0, 19, 1)),
    "python": ((0, 0, 2), (0, 2, 0)),
    "python-convex": ((0, 0, 2), (0, 2, 0)),
    "rust": ((0, 0, 1), (0, 0, 1)),
}
_FIRST_CHUNKS = (1, 28, 0)
_LAST_ENCODED = {"npm": (1, 4, 1), "python": (0, 5, 0), "python-convex": (0, 5, 0)}
_RELEASED = True


@dataclass(frozen=True, slots=True)
class ClientVersion:
    """A client's name, in lower case, and its version; None where that is no semver.

    The last member of the version is False for a pre-release, which comes before it.
    """

    name: str = "unknown"
    version: tuple[int, int, int, bool] | None = None

    @property
    def unsupported(self) -> bool:
        """Whether it is too old to be served."""
        return self._up_to(_OLD.get(self.name, (None, None))[0])

    @property
    def deprecation(self) -> dict[str, str]:
        """The headers that tell an old client so; none for others."""
        if not self._up_to(_OLD.get(self.name, (None, None))[1]):
            return {}
        state = "Unsupported" if self.unsupported else "UpgradeRequired"
        return {
            "x-convex-deprecation-state": state,
            "x-convex-deprecation-message": self.complaint,
        }

    @property
    def complaint(self) -> str:
        """What a client that is too old is told."""
        number = ".".join(map(str, (self.version or ())[:3]))
        return (
            f"The Convex {self.name} package at version {number} is no longer "
            "supported. Install a newer one."
        )

    @property
    def takes_chunks(self) -> bool:
        """Whether it understands a Transition that comes in pieces."""
        return (
            self.name == "npm"
            and self.version is not None
            and self.version >= (*_FIRST_CHUNKS, _RELEASED)
        )

    @property
    def default_format(self) -> str:
        """How values are written over HTTP for a client that does not say."""
        encoded = self._up_to(_LAST_ENCODED.get(self.name))
        return "convex_encoded_json" if encoded else "json"

    def _up_to(self, last: tuple[int, int, int] | None) -> bool:
        return (
            last is not None
            and self.version is not None
            and self.version <= (*last, _RELEASED)
        )


def from_header(text: str) -> ClientVersion:
    """Read a `Convex-Client` header, `name-1.2.3`.

    Raises:
        ValueError: it has no `-`.
    """
    words = text.split("-")
    if len(words) < 2:
        raise ValueError("A client version looks like name-1.2.3.")
    for count in range(1, len(words)):
        if version := _semver("-".join(words[count:])):
            return ClientVersion("-".join(words[:count]).lower(), version)
    return ClientVersion(words[0].lower())


def from_path(text: str) -> ClientVersion:
    """Read the version in a path, which is that of an npm client.

    Raises:
        ValueError: it is no semver.
    """
    version = _semver(text)
    if version is None:
        raise ValueError("The version in the path is no semver.")
    return ClientVersion("npm", version)


def _semver(text: str) -> tuple[int, int, int, bool] | None:
    match = _SEMVER.fullmatch(text)
    if match is None:
        return None
    return int(match[1]), int(match[2]), int(match[3]), match[4] is None
