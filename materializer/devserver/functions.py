"""Functions of a deployment: their kinds, their paths, how one is called.

Pure, but for `Function.until`, which others wait for before they call.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from materializer.convex import values

Kind = Literal["query", "mutation", "action"]

_PART = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.]{1,64}", re.ASCII)
_NAME = re.compile(r"(?=_*[A-Za-z0-9])[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


class FunctionFailed(Exception):
    """A function ended in an error; the text is what the caller is told.

    Attributes:
        log_lines: what it had logged by then.
    """

    log_lines: tuple[str, ...] = ()


class ConvexError(FunctionFailed):
    """A function failed on purpose, with data for its caller; null is data too."""

    def __init__(self, data: object) -> None:
        say = data if isinstance(data, str) else values.canonical(data)
        super().__init__(f"Uncaught ConvexError: {say}")
        self.data = values.encode(data)


@dataclass(frozen=True, slots=True)
class Call:
    """What a function knows of its caller: arguments and owner (None: signed out).

    It logs by appending lines such as `[LOG] 'text'` to `log_lines`.
    """

    args: Mapping[str, Any]
    owner: str | None
    log_lines: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Returned:
    """The JSON of what a function returned, and what it logged."""

    value: Any
    log_lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """Something that clients may call.

    Attributes:
        run: returns a Convex value, or raises `FunctionFailed`, having changed nothing.
        until: makes it slow: the call is made when what this returns has ended.
    """

    kind: Kind
    run: Callable[[Call], Any]
    until: Callable[[], Awaitable[object]] | None = None

    def call(self, args: Mapping[str, Any], owner: str | None) -> Returned:
        """Run it as `owner`.

        Raises:
            FunctionFailed: it did, or it returned what is no Convex value.
        """
        call = Call(args, owner)
        try:
            value = values.encode(self.run(call))
        except FunctionFailed as error:
            error.log_lines = tuple(call.log_lines)
            raise
        except ValueError as error:
            raise FunctionFailed(f"The value cannot be returned. {error}") from error
        return Returned(value, tuple(call.log_lines))


class Arguments:
    """A call's arguments, checked as they are taken."""

    def __init__(self, call: Call) -> None:
        self._left = dict(call.args)

    def take(self, name: str, kind: Any, validator: str, default: Any = None) -> Any:
        """Return one argument, or its default where it is optional and left out.

        Raises:
            FunctionFailed: it is missing, or its type is not `kind`.
        """
        if name not in self._left:
            if default is not None:
                return default
            raise FunctionFailed(
                "ArgumentValidationError: Object is missing the required field "
                f"`{name}`."
            )
        value = self._left.pop(name)
        if not isinstance(value, kind) or (
            isinstance(value, bool) and kind is not bool
        ):
            raise FunctionFailed(
                "ArgumentValidationError: Value does not match validator. "
                f"Path: .{name} Validator: {validator}"
            )
        return value

    def done(self) -> None:
        """Say that there must be no other.

        Raises:
            FunctionFailed: there is one.
        """
        for name in self._left:
            raise FunctionFailed(
                f"ArgumentValidationError: Object contains extra field `{name}` "
                "that is not in the validator."
            )


def canonical(path: str) -> str:
    """Return the one spelling of a path: `m.js:q` is `m:q`, `m` is `m:default`.

    Raises:
        ValueError: no function could have this path.
    """
    module, colon, name = path.rpartition(":")
    if not colon:
        module, name = path, "default"
    module = module.removesuffix(".js")
    *folders, last = module.split("/")
    if "." in last:
        raise ValueError("a module's path has an extension that isn't 'js'")
    if not all(_PART.fullmatch(part) for part in (*folders, last)):
        raise ValueError("a module's path is made of letters, digits, _ and .")
    if not _NAME.fullmatch(name):
        raise ValueError("a function's name is an identifier")
    return f"{module}:{name}"
