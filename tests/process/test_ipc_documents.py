"""`service/IPC.md` and `service/ipc.schema.json` against a real daemon."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from materializer.ipc.contract import TOPICS
from materializer.ipc.endpoint import endpoint_file
from origin import Origin
from process.house import SOON, House, png
from sidebar import is_accepted, title

SERVICE = Path(__file__).parents[2] / "service"
SCHEMA = json.loads((SERVICE / "ipc.schema.json").read_text("utf-8"))
PAGE = (SERVICE / "IPC.md").read_text("utf-8")
EXAMPLES = re.findall(r'^(?:→ )?(\{"id".*"method".*\})$', PAGE, re.MULTILINE)
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4"
    "2mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
ORDERS: tuple[dict[str, Any], ...] = (
    {
        "capability": "text_to_image",
        "prompt": "two lamps",
        "aspectRatio": "1:1",
        "input": {"num_images": 2, "image_size": {"width": 64, "height": 32}},
    },
    {"capability": "image_to_video", "prompt": "a wave", "source": PIXEL},
    {"capability": "text_to_music", "prompt": "warm keys"},
    {"capability": "text_to_3d", "prompt": "a pebble"},
    {"capability": "speech_to_text", "source": "data:audio/wav;base64,UklGRg=="},
)


def closed(node: Any) -> Any:
    """Return a schema that refuses every member which it does not name."""
    if isinstance(node, list):
        return [closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: closed(value) for key, value in node.items()}
    if made.get("type") == "object":
        made["additionalProperties"] = False
    return made


STRICT = closed(SCHEMA)


def check(definition: str, value: object) -> None:
    """Fail unless a value has exactly the shape of a definition of the schema."""
    schema = STRICT | {"oneOf": [{"$ref": f"#/$defs/{definition}"}]}
    Draft202012Validator(schema).validate(value)


class Wire:
    """Lines to and from a daemon, as any language would send and read them."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self.unasked: list[dict[str, Any]] = []

    async def ask(self, line: str) -> dict[str, Any]:
        """Send a request and return its response, which fits the schema."""
        request = json.loads(line)
        check(f"{request['method']}.request", request)
        self._writer.write(f"{line}\n".encode())
        answer = await self._until(lambda said: said.get("id") == request["id"])
        check("refusal" if "error" in answer else "response", answer)
        if "result" in answer:
            check(f"{request['method']}.result", answer["result"])
        return answer

    async def hear(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first notification like this, heard or yet to come."""
        for said in self.unasked:
            if wanted(said):
                return said
        return await self._until(lambda said: "method" in said and wanted(said))

    async def _until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        async with asyncio.timeout(SOON):
            while True:
                said: dict[str, Any] = json.loads(await self._reader.readline())
                if "method" in said:
                    check(f"{said['method']}.notification", said)
                    self.unasked.append(said)
                if wanted(said):
                    return said


@asynccontextmanager
async def wire(house: House) -> AsyncIterator[Wire]:
    told = json.loads(endpoint_file(house.state).read_text())
    reader, writer = await asyncio.open_unix_connection(told["path"], limit=1 << 24)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


def line(call: int, method: str, **params: object) -> str:
    return json.dumps({"id": call, "method": method, "params": params})


def event(topic: str, **data: object) -> Callable[[dict[str, Any]], bool]:
    def fits(said: dict[str, Any]) -> bool:
        params = said["params"]
        return bool(
            said["method"] == "event"
            and params["topic"] == topic
            and data.items() <= params["data"].items()
        )

    return fits


async def test_every_example_of_the_page_is_answered_as_the_page_says(
    house: House,
) -> None:
    house.finish_picture("3f1c")
    async with house.daemon(), wire(house) as app:
        await app.ask(line(0, "job.materialize", jobId="3f1c"))
        answers = {}
        for example in EXAMPLES:
            answers[example] = await app.ask(example)
    assert len(EXAMPLES) > 20
    refused = {line: said["error"] for line, said in answers.items() if "error" in said}
    assert refused == {}


def slowly(source: Origin, until: asyncio.Event) -> str:
    """Return the link to a picture that comes byte by byte, until it may come."""
    body = png("slow")

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        sent = 0
        while not until.is_set() and sent < len(body) - 1:
            writer.write(body[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.05)
        writer.write(body[sent:])

    return source.respond("/slow.png", respond)


async def test_whatever_a_daemon_says_of_jobs_of_every_kind_fits_the_schema(
    house: House, source: Origin
) -> None:
    enough = asyncio.Event()
    async with house.daemon(), wire(house) as app:
        await app.ask(line(1, "events.subscribe"))
        await app.ask(line(2, "display.subscribe", consumer="app"))
        await app.ask(line(3, "auth.set", token=house.backend.token()))
        jobs = [await house.order(request) for request in ORDERS]
        failed = await house.order({"capability": "text_to_3d", "prompt": "[fail: No]"})
        strange = "strange"
        house.finish(strange, {"nobody": "knows"})
        house.finish("slow", {"images": [{"url": slowly(source, enough)}]})
        await app.hear(event("download", jobId="slow"))
        enough.set()
        for job in (*jobs, strange, "slow"):
            await app.hear(lambda said, job=job: of_job(said) == job)  # type: ignore[misc]
        await app.hear(event("notification", jobId=failed))
        for call, job in enumerate((*jobs, failed, strange), 10):
            answer = await app.ask(line(call, "job.get", jobId=job))
            assert answer["result"]["jobId"] == job
        page = (await app.ask(line(4, "gallery.list")))["result"]
        assert {item["kind"] for item in page["items"]} == {
            *("image", "video", "audio", "model3d", "text", "download")
        }
        await app.ask(line(5, "job.list"))
        await app.ask(line(6, "daemon.status"))
        await app.ask(line(7, "auth.clear"))
        await app.ask(line(8, "gallery.remove", id=f"{strange}_0", deleteFile=True))
        refusal = await app.ask(line(9, "gallery.get", id=f"{strange}_0"))
        assert refusal["error"]["code"] == -32001
        gone = (await app.hear(removed))["params"]["payload"]
        assert gone["jobId"] == strange
        heard = {s["params"]["topic"] for s in app.unasked if s["method"] == "event"}
        assert heard == TOPICS
        payloads = [
            said["params"]["payload"]
            for said in app.unasked
            if said["method"] == "display.update"
        ]
    assert len(payloads) == len(jobs) + 3
    assert [payload for payload in payloads if not is_accepted(payload)] == []
    titles = {payload["jobId"]: title(payload) for payload in payloads}
    assert [titles[job] for job in jobs] == [
        *("two lamps", "a wave", "warm keys", "a pebble", "speech to text")
    ]


def removed(said: dict[str, Any]) -> bool:
    is_update = said["method"] == "display.update"
    return is_update and bool(said["params"]["action"] == "remove")


def of_job(said: dict[str, Any]) -> object:
    is_update = said["method"] == "display.update"
    return said["params"]["payload"]["jobId"] if is_update else None
