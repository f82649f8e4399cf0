"""Where the files come from: nginx with one worker, over http and over https.

Under `/storage/` a file comes with its digest, as Convex storage sends it; under
`/plain/` the same file comes without.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmarks.bodies import File
from scripts.benchmarks.clients import BenchmarkFailed
from scripts.benchmarks.programs import output

_PATIENCE = 10.0
_LARGE = 2**20
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 1000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  types {{ image/png png; video/mp4 mp4; }}
  map_hash_max_size 65536;
  map_hash_bucket_size 128;
  map $uri $sha256 {{
    default "";
    include {folder}/digests;
  }}
  ssl_certificate {folder}/cert.pem;
  ssl_certificate_key {folder}/key.pem;
  ssl_protocols TLSv1.3;
  server {{
    listen 127.0.0.1:{ports[0]};
    listen 127.0.0.1:{ports[1]} ssl;
    location /plain/ {{ alias {files}/; }}
    location /storage/ {{ alias {files}/; etag off; add_header Digest $sha256; }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """A running origin.

    Attributes:
        certificate: the one it shows, which is its own authority.
    """

    version: str
    pid: int
    ports: dict[str, int]
    certificate: Path

    def url(self, scheme: str, file: File, *, digest: bool = False) -> str:
        """Return where a file is, with or without the announcement of its digest."""
        place = "storage" if digest else "plain"
        return f"{scheme}://127.0.0.1:{self.ports[scheme]}/{place}/{file.name}"

    async def strength(self, scheme: str, file: File, connections: int) -> Strength:
        """Measure what it can serve to clients that drop everything.

        A large file is taken once, by a client that looks at nothing; wrk, which looks
        at each byte, asks for small ones for a second.
        """
        if file.size > _LARGE:
            seconds = await asyncio.to_thread(self._discard, scheme, file)
            return Strength(scheme, file.size, 1 / seconds)
        url = self.url(scheme, file)
        said = await output("wrk", "-t1", f"-c{connections}", "-d1s", url)
        rate = re.search(r"Requests/sec:\s*([\d.]+)", said)
        if rate is None:
            raise BenchmarkFailed("wrk said nothing of a rate")
        return Strength(scheme, file.size, float(rate[1]))

    def _discard(self, scheme: str, file: File) -> float:
        """Return how many seconds a file takes when nothing is done with it."""
        request = f"GET /plain/{file.name} HTTP/1.0\r\n\r\n".encode()
        context = ssl.create_default_context(cafile=self.certificate)
        room = bytearray(_LARGE)
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", self.ports[scheme])) as plain:
            line = (
                context.wrap_socket(plain, server_hostname="127.0.0.1")
                if scheme == "https"
                else plain
            )
            line.sendall(request)
            while line.recv_into(room):
                pass
        return time.perf_counter() - began


@dataclass(frozen=True, slots=True)
class Strength:
    """What the origin can serve: requests a second for files of one size."""

    scheme: str
    size: int
    requests: float


@asynccontextmanager
async def origin(
    folder: Path, files: Path, served: Iterable[File]
) -> AsyncIterator[Origin]:
    """Serve what is in `files`; `folder` takes what nginx needs.

    Raises:
        BenchmarkFailed: nginx does not start.
    """
    ports = _free_ports()
    lines = (f'/storage/{file.name} "sha-256={_base64(file)}";\n' for file in served)
    (folder / "digests").write_text("".join(lines), "utf-8")
    configuration = folder / "nginx.conf"
    text = _CONFIGURATION.format(folder=folder, files=files, ports=ports)
    configuration.write_text(text, "utf-8")
    await _certify(folder)
    process = await asyncio.create_subprocess_exec(
        *("nginx", "-e", "stderr", "-c", str(configuration)), stdout=DEVNULL
    )
    try:
        for port in ports:
            await _answered(port, process)
        version = (await output("nginx", "-v")).rpartition("/")[2].strip()
        schemes = dict(zip(("http", "https"), ports, strict=True))
        yield Origin(version, process.pid, schemes, folder / "cert.pem")
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _certify(folder: Path) -> None:
    """Make a certificate for the loopback, good for a day."""
    process = await asyncio.create_subprocess_exec(
        *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"),
        *("-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=127.0.0.1"),
        *("-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        stderr=PIPE,
    )
    _, said = await process.communicate()
    if process.returncode != 0:
        raise BenchmarkFailed(f"openssl failed: {said.decode().strip()}")


async def _answered(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(_PATIENCE):
        while process.returncode is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
    raise BenchmarkFailed("nginx does not start; it said why above")


def _free_ports() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as other:
        for listener in (one, other):
            listener.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def _base64(file: File) -> str:
    return base64.b64encode(bytes.fromhex(file.sha256)).decode()
