"""Keeps answers that are read into memory as a whole at the size that an honest server needs.

huggingface_hub reads what the Hub's API answers at once, however long it is and whatever it unpacks to. Its client is
given a hook that asks for no compression and cuts an answer off at ``LARGEST_ANSWER`` bytes. Only addresses of the API
are touched: other libraries use the same client for large files.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
from huggingface_hub import get_session

from workflow_scripts.errors import TransferError

# 20,000 files with 300 bytes each are 6 MB.
LARGEST_ANSWER = 32 << 20
# gzip shrinks zeros a thousandfold.
LARGEST_COMPRESSED = LARGEST_ANSWER // 1000
API = "/api/"


class BoundedStream(httpx2.SyncByteStream):
    """A body that ends in TransferError when it goes on for too long."""

    def __init__(self, body: httpx2.SyncByteStream, most: int, host: str) -> None:
        """``most`` is in bytes as they come over the line; ``host`` is for the message."""
        self.body, self.most, self.host = body, most, host

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of the body."""
        seen = 0
        for piece in self.body:
            seen += len(piece)
            if seen > self.most:
                raise TransferError(
                    f"{self.host}: an answer of more than {self.most} bytes, no Hub says so much; is the address right?"
                )
            yield piece

    def close(self) -> None:
        """Close the body."""
        self.body.close()


def ask_for_plain(request: httpx2.Request) -> None:
    """Ask for an answer that is as long as it looks."""
    if request.url.path.startswith(API):
        request.headers["Accept-Encoding"] = "identity"


def bound(response: httpx2.Response) -> None:
    """Cut the body of an API answer off where it becomes unreasonable."""
    if response.request.url.path.startswith(API) and isinstance(response.stream, httpx2.SyncByteStream):
        plain = response.headers.get("Content-Encoding", "identity") == "identity"
        most = LARGEST_ANSWER if plain else LARGEST_COMPRESSED
        response.stream = BoundedStream(response.stream, most, response.url.host)


def bound_hub_client() -> None:
    """Give huggingface_hub's present client the hooks, once."""
    hooks = get_session().event_hooks
    if bound not in hooks["response"]:
        get_session().event_hooks = {
            "request": [*hooks["request"], ask_for_plain],
            "response": [*hooks["response"], bound],
        }


def read_bounded(response: httpx2.Response) -> bytes:
    """Body of a streamed ``response`` that was not yet read, at most ``LARGEST_ANSWER`` bytes as they unpack."""
    content = bytearray()
    for piece in response.iter_bytes(1 << 16):
        content += piece
        if len(content) > LARGEST_ANSWER:
            raise TransferError(
                f"{response.url.host}: an answer of more than {LARGEST_ANSWER} bytes; no server needs it"
            )
    return bytes(content)
