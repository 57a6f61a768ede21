"""Time limits that hold whatever a server sends.

A timeout of httpx is one of silence: every byte that arrives starts it anew. A server that sends a byte now and then,
or interim answers (100 Continue, 103 Early Hints) without end, holds a connection forever. Here each read on a
connection also ends at a moment that the reading thread has set: for the head of an answer, for a whole small answer,
and for the next part of a large one, so that a transfer has a slowest pace.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any

import httpcore2
import httpx2

from workflow_scripts.storage.http.retry import SLOWEST


class Limit(threading.local):
    """The moment (time.monotonic) at which reads of this thread end; httpx reads in the thread that asks."""

    until = math.inf


LIMIT = Limit()


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """End all reads of this thread that are not done in ``seconds``; inside another limit, the earlier one counts."""
    before = LIMIT.until
    LIMIT.until = min(before, time.monotonic() + seconds)
    try:
        yield
    finally:
        LIMIT.until = before


def paced(chunks: Iterator[bytes], seconds: float) -> Iterator[bytes]:
    """``chunks`` of a limited connection, as long as each ``seconds`` of waiting bring SLOWEST bytes per second.

    Only time that is spent waiting for the server counts, not what the reader does with the bytes.
    """
    left, missing = seconds, SLOWEST * seconds
    while True:
        started = time.monotonic()
        with within(left):
            chunk = next(chunks, None)
        if chunk is None:
            return
        left, missing = left - (time.monotonic() - started), missing - len(chunk)
        if missing <= 0:
            left, missing = seconds, SLOWEST * seconds
        yield chunk


class LimitedStream(httpcore2.NetworkStream):
    """A connection whose reads keep to the limit of their thread."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        """``stream`` is the connection itself."""
        self.stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Read what there is; raises ReadTimeout at the limit."""
        left = LIMIT.until - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the response took too long")
        seconds = min(math.inf if timeout is None else timeout, left)
        return self.stream.read(max_bytes, None if seconds == math.inf else seconds)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Write all of ``buffer``."""
        self.stream.write(buffer, timeout)

    def close(self) -> None:
        """Close the connection."""
        self.stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        """Encrypted connection over this one, under the same limit."""
        return LimitedStream(self.stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> object:
        """What the connection says of itself."""
        return self.stream.get_extra_info(info)


class LimitedBackend(httpcore2.SyncBackend):
    """Opens connections whose reads keep to the limit of their thread."""

    def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore2.NetworkStream:
        """Connect; arguments as httpcore's own."""
        return LimitedStream(super().connect_tcp(*arguments, **options))


def limit_reads(client: httpx2.Client) -> None:
    """Let all connections of ``client``, through proxies too, keep to the limits.

    httpx has no argument for the backend of its pools, httpcore's pools have; a test fails where this stops working.
    """
    for transport in (client._transport, *client._mounts.values()):
        if isinstance(transport, httpx2.HTTPTransport):
            transport._pool._network_backend = LimitedBackend()
