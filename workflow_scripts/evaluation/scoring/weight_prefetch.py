"""Reads the weights of the next checkpoint while the present one is being scored.

One thread, one checkpoint ahead: never more than two checkpoints' weights are held. On a GPU the second is put beside
the first where there is room, by a stream of its own, so that neither the disk nor the bus is waited for; elsewhere it
stays on the host until the first is released.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from workflow_scripts.errors import PipelineError

# Left for the passes over the checkpoint in use, which may not have begun: a few times what they need at any width.
SPARE_BYTES = 8 << 30
Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


def read_ahead(
    items: Iterable[Item], load: Callable[[Item], Loaded], stop: threading.Event | None = None
) -> Iterator[tuple[Item, Loaded | PipelineError]]:
    """Each item with what ``load`` made of it, or the error that the user must see, in order.

    ``load`` of an item starts when its predecessor is handed out, so at most two results exist: the one in use and the
    next. The one in use must be released before the next is requested. ``stop`` is set when no more are wanted, so
    that a ``load`` that looks at it ends: the process waits for its thread.
    """
    waiting = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="weights") as pool, set_at_the_end(stop):
        following = submit(pool, waiting, load)
        while following is not None:
            item, future = following
            loaded = outcome(future)
            following = submit(pool, waiting, load)
            del future
            yield item, loaded
            del loaded


def place_beside(device: torch.device, needed: int) -> torch.device:
    """``device``, or the host where a GPU has no room for ``needed`` bytes more."""
    if device.type == "cuda" and torch.cuda.mem_get_info(device)[0] < needed + SPARE_BYTES:
        return torch.device("cpu")
    return device


@functools.cache
def side_stream(device: torch.device) -> torch.cuda.Stream:
    """The stream that copies weights to a GPU; always the same, so that it uses its memory again."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def copying(device: torch.device) -> Iterator[None]:
    """What is put on a GPU inside the block is copied beside its computations, and is there when the block ends."""
    if device.type != "cuda":
        yield
        return
    stream = side_stream(device)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


@contextlib.contextmanager
def set_at_the_end(event: threading.Event | None) -> Iterator[None]:
    """Set ``event``, if there is one, however the block ends."""
    try:
        yield
    finally:
        if event is not None:
            event.set()


def submit(
    pool: ThreadPoolExecutor, waiting: Iterator[Item], load: Callable[[Item], Loaded]
) -> tuple[Item, Future[Loaded]] | None:
    """Start loading the next item, if there is one."""
    for item in waiting:
        return item, pool.submit(load, item)
    return None


def outcome(future: Future[Loaded]) -> Loaded | PipelineError:
    """Result of a load, or its expected error; anything else is a bug and is raised."""
    try:
        return future.result()
    except PipelineError as error:
        return error
