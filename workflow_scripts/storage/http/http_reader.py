"""Reads one file over HTTP from an offset, and says of each failure whether trying again makes sense.

Secrets go to the host they were meant for and no other: redirects are followed by hand, and authorisation is dropped as
soon as scheme, host or port change. Messages name hosts and paths, never queries, where signatures stand.
"""

from __future__ import annotations

import email.utils
import errno
import json
import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

import httpx2

from workflow_scripts.errors import ConfigError, TransferError
from workflow_scripts.storage.credentials import public_url
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.retry import WITHOUT_NETWORK, NoConnectionError, NoNetworkError, RetryableError
from workflow_scripts.storage.sources.source import ByteStream, exactly
from workflow_scripts.storage.time_limits import limit_reads, paced, within

REDIRECTS = 10
# Redirects that ask for the same method again; the others would make a GET of a POST.
REPEATING = (307, 308)
CONNECT_SECONDS = 15.0
# A small answer may take so many times the longest silence, in all.
ANSWER_SILENCES = 4
# 20,000 files with 300 bytes each are 6 MB.
LARGEST_ANSWER = 32 << 20
# Bytes that are read in vain at most, for a range of a server that ignores ranges.
LARGEST_SKIP = 64 << 20
# Request timeout, too early, too many requests, and what servers and proxies say while they are down.
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
# What a storage host says of a signed address that has run out; nothing that the owner of a file says is among them.
EXPIRED = frozenset({400, 401, 403, 410})
# The same of an address that was kept from an earlier redirect: whatever it says, the owner may say otherwise.
DETOUR = EXPIRED | {404}
NEVER: frozenset[int] = frozenset()
TOO_MANY = 429
CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
# It logs every address it asks, with the signatures in their queries.
logging.getLogger("httpx2").setLevel(logging.WARNING)
log = logging.getLogger(__name__)
PROXIES = ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
# A name that is not resolved (negative numbers, of getaddrinfo), no network, no way to the host.
NO_NETWORK = re.compile(rf"\[Errno (-\d+|{errno.ENETUNREACH}|{errno.EHOSTUNREACH}|{errno.ENETDOWN})\]")
UNCONNECTED = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError)
FAILURES = (httpx2.TransportError, httpx2.StreamError, httpx2.DecodingError, httpx2.InvalidURL)


@dataclass(frozen=True)
class Address:
    """Where a file lies: ``secrets`` are headers for this host alone, ``expiring`` what it answers when too late."""

    url: str
    secrets: Mapping[str, str] = field(default_factory=dict)
    expiring: frozenset[int] = NEVER


class HttpReader:
    """An HTTP client for one source; may be used by several threads and is closed by its with block."""

    def __init__(self, stall_seconds: float, denied: str) -> None:
        """``stall_seconds``: longest silence of a server; ``denied``: what to do about 401 and 403, for messages."""
        self.stall_seconds = stall_seconds
        self.denied = denied
        self.skipping = False
        try:
            self.client = httpx2.Client(
                follow_redirects=False,
                timeout=httpx2.Timeout(stall_seconds, connect=min(CONNECT_SECONDS, stall_seconds), pool=None),
                # Content is hashed as it is stored, so no compression on the way.
                headers={"User-Agent": "pythia-workflow", "Accept-Encoding": "identity"},
            )
        except ValueError as error:
            raise ConfigError(f"the proxy in {proxy_variables()} cannot be used: {error}; fix or unset it") from None
        except OSError as error:
            # Only the certificates are read here; neither OpenSSL nor Python names their file.
            raise ConfigError(
                f"the certificates in {certificate_variables()} cannot be used: {error.strerror or error}; "
                f"set it to a file "
                "of certificates in PEM format, or unset it"
            ) from None
        limit_reads(self.client)

    def __enter__(self) -> HttpReader:
        """Nothing to do; connections are made on demand."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.client.close()

    @contextmanager
    def stream(self, address: Address, offset: int, label: str, length: int | None = None) -> Iterator[ByteStream]:
        """Stream of what lies at ``address`` from byte ``offset`` on, ``length`` bytes when given.

        ``label`` names the file in messages. Raises RetryableError for what may pass, TransferError for what will not.
        """
        end = "" if length is None else str(offset + length - 1)
        ranged = {"Range": f"bytes={offset}-{end}"} if offset or length is not None else {}
        try:
            response = self.follow(address, ranged, label)
            try:
                at_home = origin(response.url) == origin(httpx2.URL(address.url))
                check_status(response, address.expiring if at_home else EXPIRED, label, self.denied)
                stream = byte_stream(response, offset, label)
                yield replace(stream, chunks=paced(stream.chunks, self.stall_seconds), url=str(response.url))
            finally:
                response.close()
        except FAILURES as error:
            raise failure(error, address, label) from error

    def follow(
        self, address: Address, headers: Mapping[str, str], label: str, question: object = None, method: str = ""
    ) -> httpx2.Response:
        """Response after all redirects; a ``question`` is posted as JSON, and again where a redirect allows it.

        ``method`` HEAD stays on its host: a Hub says what it knows of a file before it sends to another one.
        """
        here, home = httpx2.URL(address.url), origin(httpx2.URL(address.url))
        method = method or ("GET" if question is None else "POST")
        for _ in range(REDIRECTS):
            sent = {**headers, **address.secrets} if origin(here) == home else dict(headers)
            pauses.obey(here.host)
            request = self.client.build_request(method, here, headers=sent, json=question)
            with within(min(CONNECT_SECONDS, self.stall_seconds) + self.stall_seconds):
                response = self.client.send(request, stream=True)
            if not response.has_redirect_location or (question is not None and response.status_code not in REPEATING):
                return response
            target = here.join(response.headers["Location"])
            if method == "HEAD" and origin(target) != home:
                return response
            response.close()
            if target.scheme not in ("http", "https") or (here.scheme == "https" and target.scheme != "https"):
                raise TransferError(
                    f"{label}: {here.host} redirects to '{public_url(str(target))}', which is not secure"
                )
            here = target
        raise RetryableError(f"{label}: more than {REDIRECTS} redirects ({host_of(address.url)})")

    def read_range(self, address: Address, offset: int, length: int, label: str) -> tuple[bytes, Address]:
        """Exactly ``length`` (>= 1) bytes from ``offset`` on, and an address that leads to them without a detour.

        Where the server ignores ranges the file is read from its start, as far as LARGEST_SKIP; raises TransferError
        beyond.
        """
        with self.stream(address, offset, label, length) as stream:
            skipped = offset - stream.start
            if skipped and (stream.start or offset + length > LARGEST_SKIP):
                host = host_of(address.url)
                raise TransferError(f"{label}: {host} does not support range requests; fetch the whole file")
            if skipped and not self.skipping:
                log.info("%s: %s ignores range requests; reading files from their start", label, host_of(address.url))
                self.skipping = True
            return exactly(stream, skipped + length, label)[skipped:], without_detour(address, stream.url)

    def head(self, address: Address, label: str) -> httpx2.Response:
        """What ``address`` says of itself, whatever its status; raises RetryableError for one that may pass."""
        try:
            with within(ANSWER_SILENCES * self.stall_seconds):
                response = self.follow(address, {}, label, method="HEAD")
                response.close()
        except FAILURES as error:
            raise failure(error, address, label) from error
        if response.status_code in PASSING:
            check_status(response, NEVER, label, self.denied)
        return response

    def ask(self, address: Address, label: str, headers: Mapping[str, str], question: object = None) -> Any:
        """JSON that ``address`` answers, to a ``question`` where one is given; raises as :meth:`stream` does."""
        answer = self.answer(address, label, headers, question)
        check_status(answer, NEVER, label, self.denied)
        return parse_json(answer, label)

    def answer(
        self, address: Address, label: str, headers: Mapping[str, str], question: object = None
    ) -> httpx2.Response:
        """Answer of ``address``, whatever its status, read into memory in bounded time and size."""
        try:
            with within(ANSWER_SILENCES * self.stall_seconds):
                response = self.follow(address, headers, label, question)
                try:
                    content = read_bounded(response, label)
                finally:
                    response.close()
        except FAILURES as error:
            raise failure(error, address, label) from error
        return httpx2.Response(
            response.status_code, headers=response.headers, content=content, request=response.request
        )


def read_bounded(response: httpx2.Response, label: str) -> bytes:
    """Body of a ``response`` that was not yet read, at most ``LARGEST_ANSWER`` bytes."""
    refuse_packed(response, label)
    content = bytearray()
    for piece in response.iter_raw():
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise TransferError(
                f"{label}: {response.url.host} sent a response of more than {LARGEST_ANSWER} bytes; check the URL"
            )
    return bytes(content)


def refuse_packed(response: httpx2.Response, label: str) -> None:
    """Raise TransferError for a compressed body: its bytes cannot be checked, and it may unpack to gigabytes."""
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TransferError(
            f"{label}: the server compressed the response against the request; its bytes cannot be verified"
        )


def parse_json(response: httpx2.Response, label: str) -> Any:
    """JSON in an answer that was read."""
    try:
        return json.loads(response.content)
    except (ValueError, RecursionError) as error:
        host = response.url.host
        raise RetryableError(
            f"{label}: {host} did not respond with JSON; a proxy or captive portal may be in the way"
        ) from error


def without_detour(address: Address, url: str) -> Address:
    """Address that leads where the redirects of ``address`` led; its secrets stay with their host."""
    if url == address.url:
        return address
    at_home = origin(httpx2.URL(url)) == origin(httpx2.URL(address.url))
    return Address(url, address.secrets if at_home else {}, DETOUR)


def byte_stream(response: httpx2.Response, offset: int, label: str) -> ByteStream:
    """What a good response delivers."""
    refuse_packed(response, label)
    kind = response.headers.get("Content-Type", "")
    match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    total = int(match[3]) if match and match[3] != "*" else None
    if response.status_code == 416:
        if total != offset:
            raise RetryableError(f"{label}: the server has {total} bytes, requested from byte {offset}")
        return ByteStream(offset, total, iter(()), kind)
    if response.status_code == 206:
        if match is None or match[1] is None:
            raise RetryableError(f"{label}: partial response without a valid Content-Range")
        return ByteStream(int(match[1]), total, response.iter_raw(), kind)
    length = response.headers.get("Content-Length", "")
    return ByteStream(0, int(length) if is_number(length) else None, response.iter_raw(), kind)


def check_status(response: httpx2.Response, expiring: frozenset[int], label: str, denied: str) -> None:
    """Raise for every status that does not bring the file; ``expiring`` are those of an address that ran out."""
    code, host = response.status_code, response.url.host
    if code in (200, 206, 416):
        return
    if code in PASSING:
        seconds = retry_after(response.headers)
        if code == TOO_MANY:
            pauses.note(host, seconds)
        raise RetryableError(f"{label}: {host} responded with {code} {reason(code)}", seconds)
    if code in expiring:
        # The next attempt asks for a fresh address.
        raise RetryableError(f"{label}: {host} responded with {code}, the signed URL may have expired")
    if code in (401, 403):
        raise TransferError(f"{label}: {host} responded with {code}, access denied; {denied}")
    if code in (404, 410):
        raise TransferError(f"{label}: {host} responded with {code}, no such file")
    raise TransferError(f"{label}: {host} responded with {code} {reason(code)}")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: Retry-After as a number or a date, else the ``t=`` of a RateLimit header."""
    value = headers.get("Retry-After", "").strip()
    if is_number(value):
        return float(value)
    if value:
        try:
            return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
        except (ValueError, OverflowError):
            return None
    match = re.search(r"\br=0\b.*?\bt=(\d+)", headers.get("RateLimit", ""))
    return float(match[1]) if match else None


def is_number(text: str) -> bool:
    """True for the digits of a header's number; other alphabets' digits and endless ones are none.

    >>> [is_number(text) for text in ("12", "", "\u00b3", "9" * 20)]
    [True, False, False, False]
    """
    return text.isascii() and text.isdigit() and len(text) < 20


def reason(code: int) -> str:
    """Words for a status, where there are standard ones."""
    return httpx2.codes.get_reason_phrase(code)


def failure(error: Exception, address: Address, label: str) -> RetryableError:
    """What to raise for a connection that failed."""
    text = f"{label}: {failure_text(error)} ({host_of(address.url)})"
    if isinstance(error, httpx2.ConnectError) and NO_NETWORK.search(str(error)):
        return NoNetworkError(f"{text}; {WITHOUT_NETWORK}")
    return NoConnectionError(text) if isinstance(error, UNCONNECTED) else RetryableError(text)


def failure_text(error: Exception) -> str:
    """Say what happened on the line, without addresses."""
    if isinstance(error, httpx2.ConnectTimeout | httpx2.ConnectError):
        proxies = proxy_variables()
        return f"no connection, {public_reason(error)}{', the proxy is that of ' if proxies else ''}{proxies}"
    if isinstance(error, httpx2.TimeoutException):
        return "read timed out"
    return f"connection lost, {type(error).__name__}"


def certificate_variables() -> str:
    """The variables that say which certificates are trusted, with their values; for messages."""
    found = (f"{name}={os.environ[name]}" for name in CERTIFICATES if os.environ.get(name))
    return ", ".join(found) or "the package certifi"


def proxy_variables() -> str:
    """Names of the variables that set a proxy, for messages; their values may hold passwords."""
    return ", ".join(name for name in PROXIES if os.environ.get(name))


def public_reason(error: Exception) -> str:
    """What the operating system or TLS said, which holds no address; the kind of error when it said nothing."""
    text = " ".join(str(error).split())
    return text[:120] if text and "://" not in text else type(error).__name__


def host_of(url: str) -> str:
    """Host of ``url`` for messages."""
    try:
        return httpx2.URL(url).host
    except httpx2.InvalidURL:
        return "an invalid URL"


def origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    """Scheme, host and port: the owner of a secret."""
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
