"""What a trial is played on: a backend, a source, and jobs of every kind.

Every trial has a state directory of its own; the jobs are the same for all.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from materializer.devserver import media
from materializer.devserver.app import Backend
from origin import Origin, origin

_MONTH = 30 * 86400
_STEP, _PACE = 4 * 1024, 0.004
FILM = os.urandom(24 * 4096)
SAID = "What was said."
WORDS = {"text": SAID, "segments": [{"text": SAID}]}
FAILED = "bad"


@dataclass(slots=True)
class Stage:
    """The other side of all trials.

    Attributes:
        files: what must be in the outputs directory at the end; None is any content.
        told: what must be announced: of each job the names of the files, or the text.
        environ: the variables of a daemon, but for its state directory.
        span: seconds in which a daemon that is left alone has done everything.
        changes: by how many system calls it does that; on other systems not known.
        seed: a state directory that is copied for each trial: a consumer is known in
            it, and no job.
    """

    root: Path
    backend: Backend
    source: Origin
    seed: Path
    files: dict[str, bytes | None] = field(default_factory=dict)
    told: dict[str, tuple[str, ...]] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    span: float = 0.0
    changes: int = 0

    def fresh(self, state: Path) -> Path:
        """Make the state directory of a trial."""
        shutil.copytree(self.seed, state, symlinks=True, dirs_exist_ok=True)
        return state

    def fill(self) -> None:
        """Let the jobs end: one long ago, others while it is fetched."""
        film = self.source.respond("/film", self._film)
        self._succeed("film", {"video": {"url": film}}, ago=3600)
        self._expect("film", **{"film_0.mp4": FILM})
        pictures = [media.picture(name, 0, (64, 64), "png").data for name in "abc"]
        urls = [
            self.source.serve(f"/{name}.png", data)
            for name, data in zip("ab", pictures, strict=False)
        ]
        self._succeed("pair", {"images": [{"url": url} for url in urls]}, ago=1200)
        self._expect("pair", **{"pair_0.png": pictures[0], "pair_1.png": pictures[1]})
        self._succeed("words", WORDS, ago=600)
        self.files |= {"words_0.txt": SAID.encode(), "words_1.json": None}
        self.told["words"] = (SAID,)
        inline = base64.b64encode(pictures[2]).decode()
        shown = {"images": [{"url": f"data:image/png;base64,{inline}"}]}
        self._succeed("fresh", shown, ago=0)
        self._expect("fresh", **{"fresh_0.png": pictures[2]})
        now = self._submit(FAILED, ago=300)
        self.backend.deployment.fail(now, FAILED, "the model was busy")

    def _expect(self, job_id: str, **files: bytes) -> None:
        self.files |= files
        self.told[job_id] = tuple(files)

    def _succeed(self, job_id: str, output: object, ago: float) -> None:
        now = self._submit(job_id, ago)
        self.backend.deployment.succeed(now, job_id, output)

    def _submit(self, job_id: str, ago: float) -> int:
        now = time.time_ns() - int(ago * 1e9)
        self.backend.deployment.submit(
            now,
            owner=self.backend.owner(),
            job_id=job_id,
            capability="text_to_image",
        )
        return now

    async def _film(self, writer: asyncio.StreamWriter) -> None:
        asked = re.search(r"(?i)\nrange: bytes=(\d+)-\r", self.source.requests[-1])
        start = int(asked[1]) if asked else 0
        lines = ["200 OK", f"Content-Length: {len(FILM) - start}", 'ETag: "one"']
        if start:
            lines[0] = "206 Partial Content"
            lines.append(f"Content-Range: bytes {start}-{len(FILM) - 1}/{len(FILM)}")
        head = "\r\n".join((*lines, "Connection: close", "", ""))
        writer.write(f"HTTP/1.1 {head}".encode())
        for at in range(start, len(FILM), _STEP):
            writer.write(FILM[at : at + _STEP])
            await writer.drain()
            await asyncio.sleep(_PACE)


@asynccontextmanager
async def stage(root: Path) -> AsyncIterator[Stage]:
    """Run the other side for as long as the block lasts; its jobs are not there yet."""
    # Its clients are killed, which is no news here.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    async with origin() as source, Backend(root / "backend") as backend:
        grant = {"token": backend.token(lifetime=_MONTH)}
        token = root / "token.json"
        token.write_text(json.dumps(grant), "utf-8")
        built = Stage(root, backend, source, root / "seed")
        built.environ = {
            "HOME": str(root),
            "STELLA_CONVEX_URL": backend.convex_url,
            "STELLA_MEDIA_TOKEN_FILE": str(token),
            "STELLA_ALLOW_PRIVATE_HOSTS": "127.0.0.1",
            "STELLA_MATERIALIZER_FIRST_RUN_LOOKBACK": "2h",
            "STELLA_MATERIALIZER_MIN_FREE_SPACE": "0",
            "STELLA_MATERIALIZER_THUMBNAILS": "no",
            "STELLA_MATERIALIZER_NOTIFICATIONS": "no",
        }
        yield built
