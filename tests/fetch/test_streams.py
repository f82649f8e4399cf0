from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from far_side import certificate
from materializer.fetch.streams import TcpStream, TlsStream

DATA = os.urandom(3 * 2**20)


@pytest.fixture
def pair() -> Iterator[tuple[TcpStream, socket.socket]]:
    """A stream, and the server's end of it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = TcpStream("127.0.0.1", listener.getsockname()[1], 5)
        far, _ = listener.accept()
    with far:
        yield stream, far
    stream.close()


def read_all(stream: TcpStream | TlsStream) -> tuple[bytes, int]:
    """Return everything until the end, and the most that came at once."""
    view = memoryview(bytearray(2**20))
    data, most = b"", 0
    while count := stream.recv_into(view):
        data += view[:count]
        most = max(most, count)
    return data, most


def test_an_address_is_connected_to_without_a_look_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def look_up(*_: object, **__: object) -> None:
        raise AssertionError("an address was looked up")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        TcpStream("127.0.0.1", listener.getsockname()[1], 5).close()
    with pytest.raises(AssertionError):
        TcpStream.to_name("127.0.0.1", 1, 5)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_an_address_may_be_of_either_kind() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with listener:
        TcpStream("::1", listener.getsockname()[1], 5).close()


def test_nobody_there_leaves_no_socket_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        TcpStream("127.0.0.1", port, 5)


def test_a_stream_is_idle_until_anything_comes(
    pair: tuple[TcpStream, socket.socket],
) -> None:
    stream, far = pair
    assert stream.idle()
    far.sendall(b"x")
    stream.settimeout(5)
    view = memoryview(bytearray(9))
    assert stream.recv_into(view) == 1
    assert stream.idle()
    far.close()
    stream.settimeout(5)
    assert stream.recv_into(view) == 0
    assert not stream.idle()


def test_whoever_waits_is_woken_when_the_stream_is_cut(
    pair: tuple[TcpStream, socket.socket],
) -> None:
    stream, _ = pair
    stream.settimeout(20)
    cutter = threading.Timer(0.05, stream.abort)
    cutter.start()
    began = time.monotonic()
    assert stream.recv_into(memoryview(bytearray(9))) == 0
    assert time.monotonic() - began < 10
    cutter.join()


def encrypted(tls: ssl.SSLContext, far: socket.socket, *, politely: bool) -> None:
    with tls.wrap_socket(far, server_side=True) as secure:
        secure.sendall(DATA)
        if politely:
            with suppress(ssl.SSLEOFError):  # our side just goes
                secure.unwrap()


@pytest.mark.parametrize("politely", [True, False])
def test_tls_hands_out_many_records_at_once_and_knows_its_end(
    tmp_path: Path, pair: tuple[TcpStream, socket.socket], *, politely: bool
) -> None:
    file, tls = certificate(tmp_path)
    inner, far = pair
    server = threading.Thread(
        target=encrypted, args=(tls, far), kwargs={"politely": politely}
    )
    server.start()
    trust = ssl.create_default_context(cafile=str(file))
    stream = TlsStream(inner, trust, "localhost")
    if politely:
        data, most = read_all(stream)
        assert data == DATA
        assert most > 2 * 16 * 1024
        inner.close()
    else:
        with pytest.raises(ssl.SSLError, match=r"(?i)eof"):
            read_all(stream)
    server.join()


def test_tls_wants_the_name_proved(
    tmp_path: Path, pair: tuple[TcpStream, socket.socket]
) -> None:
    file, tls = certificate(tmp_path)
    inner, far = pair

    def serve() -> None:
        with pytest.raises(OSError, match=r".*"):
            encrypted(tls, far, politely=True)

    server = threading.Thread(target=serve)
    server.start()
    trust = ssl.create_default_context(cafile=str(file))
    with pytest.raises(ssl.SSLCertVerificationError):
        TlsStream(inner, trust, "another.test")
    inner.abort()
    server.join()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_a_signal_in_the_middle_of_a_read_loses_nothing(
    pair: tuple[TcpStream, socket.socket],
) -> None:
    stream, far = pair
    reader, interrupted = threading.get_ident(), 0

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted += 1

    def send() -> None:
        for start in range(0, 30_000, 1000):
            threading.Event().wait(0.005)  # in which the reader has begun to wait
            signal.pthread_kill(reader, signal.SIGUSR1)
            far.sendall(DATA[start : start + 1000])
        far.shutdown(socket.SHUT_WR)

    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send)
    try:
        sender.start()
        assert read_all(stream)[0] == DATA[:30_000]
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert interrupted > 0
