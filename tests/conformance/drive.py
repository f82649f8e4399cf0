"""The official Python client, driven through stdin, in the language of drive.mjs."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from convex.http_client import ConvexHttpClient

from convex import ConvexClient, ConvexError, convex_to_json, json_to_convex


class Driver:
    def __init__(self, url: str, group: asyncio.TaskGroup) -> None:
        self._url = url
        self._group = group
        self._client = ConvexClient(url)

    def auth(self, token: str) -> None:
        self._client.set_auth(token)

    renew = auth

    def subscribe(self, name: str, path: str, args: Any) -> None:
        subscription = self._client.subscribe(path, decoded(args))
        self._group.create_task(follow(name, subscription))

    def mutation(self, name: str, path: str, args: Any) -> None:
        told(name, lambda: self._client.mutation(path, decoded(args)))

    def action(self, name: str, path: str, args: Any) -> None:
        told(name, lambda: self._client.action(path, decoded(args)))

    def http(
        self, name: str, kind: str, path: str, args: Any, auth: str | None = None
    ) -> None:
        http = ConvexHttpClient(self._url)
        if auth:
            http.set_auth(auth)
        told(name, lambda: getattr(http, kind)(path, decoded(args)))


def decoded(args: Any) -> Any:
    return json_to_convex(args)


async def follow(name: str, subscription: Any) -> None:
    while True:
        try:
            value = await anext(subscription)
        except Exception as error:  # noqa: BLE001 -- that is how a query fails
            failed(name, error)
        else:
            good(name, value)


def told(name: str, call: Any) -> None:
    try:
        value = call()
    except Exception as error:  # noqa: BLE001 -- that is how a function fails
        failed(name, error)
    else:
        good(name, value)


def good(name: str, value: Any) -> None:
    if isinstance(value, str) and len(value) > 1000:
        say(name, {"value": {"length": len(value)}})
    else:
        say(name, {"value": convex_to_json(value)})


def failed(name: str, error: Exception) -> None:
    told: dict[str, Any] = {"error": str(error)}
    if isinstance(error, ConvexError):
        told["data"] = convex_to_json(error.data)
    say(name, told)


def say(name: str, answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps([name, answer]) + "\n")
    sys.stdout.flush()


async def main() -> None:
    async with asyncio.TaskGroup() as group:
        driver = Driver(sys.argv[1], group)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, *given = json.loads(line)
            getattr(driver, command)(*given)
        sys.exit()


asyncio.run(main())
