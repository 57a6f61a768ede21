"""Functions compiled to machine code by numba, with their Python types kept.

Compiled code is cached beside the source, or in memory only where no folder can be written. It must not be asked to
raise: arguments are checked by the Python function that calls it.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Decorator: compile ``function`` at its first call; the global interpreter lock is released while it runs."""
    try:
        return cast(Function, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # numba found no folder for its cache (read-only checkout and home)
        return cast(Function, numba.njit(nogil=True)(function))
