"""Errors of a command that several processes run."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cuslayer.cli import errors

if TYPE_CHECKING:
    from cuslayer.distributed import Context


@contextmanager
def reported(context: Context) -> Iterator[None]:
    """Let process 0 warn, and report what all processes raise; an error of one process ends all, with its rank.

    What process 0 reports is raised in it, and ends the block in the others.
    """
    from cuslayer.distributed.context import is_on_all

    if context.size == 1:
        yield
        return
    try:
        with warnings.catch_warnings():
            if context.rank:
                warnings.simplefilter("ignore")
            yield
    except Exception as problem:
        if not is_on_all(problem):
            if os.environ.get(errors.TRACEBACK):
                raise  # to the hook of the context, which ends all
            context.fail(*errors.describe(problem))
        if context.rank == 0:
            raise
