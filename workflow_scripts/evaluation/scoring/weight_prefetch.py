"""Reads the weights of the next checkpoint while the present one is being scored.

One thread, one checkpoint ahead: never more than two checkpoints' weights are held, on the host; the second is moved to
the GPU only when the first is released.
"""

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from workflow_scripts.errors import PipelineError

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
