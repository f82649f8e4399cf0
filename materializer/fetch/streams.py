"""Connections that one thread reads and any other may cut.

TLS runs over two memory buffers: the socket is read a megabyte at a time where the
standard library's TLS socket makes two system calls for each 16 KiB record.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Protocol, cast

_RAW = 2**20


class Stream(Protocol):
    """A connection. Everything that fails raises OSError, TimeoutError included."""

    def recv_into(self, view: memoryview) -> int:
        """Read at least one byte; 0 is the end."""

    def sendall(self, data: bytes) -> None:
        """Send everything."""

    def settimeout(self, seconds: float) -> None:
        """Let every wait end after so long."""

    def idle(self) -> bool:
        """Whether nothing has come, not even the end. Set the timeout anew after it."""

    def abort(self) -> None:
        """Cut the connection, from any thread: whoever waits for it fails."""

    def close(self) -> None:
        """Give the socket back."""


class TcpStream:
    """A connection to an address, which is not looked up."""

    def __init__(self, address: str, port: int, timeout: float) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect((address, port))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self._socket.close()
            raise
        self._timeout: float | None = timeout
        self.recv_into = self._socket.recv_into
        self.sendall = self._socket.sendall
        self.close = self._socket.close

    @classmethod
    def to_name(cls, host: str, port: int, timeout: float) -> TcpStream:
        """Connect to a host that is looked up: a proxy, which the person has chosen."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return cls(str(found[0][4][0]), port, timeout)

    def settimeout(self, seconds: float) -> None:
        """Let every wait end after so long."""
        if seconds != self._timeout:  # it is a system call
            self._socket.settimeout(seconds)
            self._timeout = seconds

    def idle(self) -> bool:
        """Whether nothing has come, not even the end."""
        self._timeout = None
        self._socket.setblocking(False)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def abort(self) -> None:
        """Cut the connection, from any thread."""
        with suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RDWR)


class TlsStream:
    """TLS over another stream.

    Raises:
        ssl.SSLError: the server cannot be trusted, or breaks the protocol.
    """

    def __init__(self, inner: Stream, context: ssl.SSLContext, host: str) -> None:
        self._inner = inner
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._raw = memoryview(bytearray(64 * 1024))
        # Some Pythons take a connection that was torn off for a body that is whole.
        context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=host
        )
        self.settimeout, self.abort = inner.settimeout, inner.abort
        self.close, self.idle = inner.close, inner.idle
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                self._fill()
        self._flush()

    def recv_into(self, view: memoryview) -> int:
        """Read as many records as have come, at least one byte; 0 is the end."""
        filled = 0
        while filled < len(view):
            try:
                # With a buffer it returns how much it has read.
                count = cast("int", self._tls.read(len(view) - filled, view[filled:]))
            except ssl.SSLWantReadError:
                self._flush()
                if filled:
                    break
                if len(view) >= _RAW > len(self._raw):  # a large body has begun
                    self._raw = memoryview(bytearray(_RAW))
                self._fill()
                continue
            except ssl.SSLZeroReturnError:
                break
            if count == 0:
                break
            filled += count
        return filled

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
            self._flush()

    def _fill(self) -> None:
        count = self._inner.recv_into(self._raw)
        if count:
            self._incoming.write(self._raw[:count])
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._inner.sendall(self._outgoing.read())
