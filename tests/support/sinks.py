"""What a process says while something is done: to its loggers, by print(), in warnings and in __del__."""

from __future__ import annotations

import gc
import io
import logging
import sys
import warnings
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .leaks import shown_by

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(kw_only=True)
class Sinks:
    """What was said.

    Attributes:
        log: what all loggers were told.
        printed: what debug output, of libraries and of ours, came to.
        warned: the text of warnings.
        unraisable: what __del__ and the like had to say.
    """

    log: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)
    unraisable: list[str] = field(default_factory=list)

    def texts(self) -> list[str]:
        return [*self.log, *self.printed, *self.warned, *self.unraisable]


@contextmanager
def overheard(sinks: Sinks) -> Iterator[None]:
    """Take down what is said in the block, with all loggers at DEBUG."""

    class Everything(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            sinks.log.extend(
                (record.getMessage(), repr(record.args), repr(vars(record)), logging.Formatter().format(record))
            )

    handler, root = Everything(logging.DEBUG), logging.getLogger()
    level, known = root.level, [logging.getLogger(name) for name in logging.root.manager.loggerDict]
    levels = [logger.level for logger in known]
    out, err = io.StringIO(), io.StringIO()
    hook = sys.unraisablehook
    sys.unraisablehook = lambda said: sinks.unraisable.extend(
        (repr(said), repr(said.object), *shown_by(said.exc_value))
    )
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    for logger in known:
        logger.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as warned, redirect_stdout(out), redirect_stderr(err):
            warnings.simplefilter("always")
            yield
            gc.collect()
        sinks.warned += [f"{warning} {warning.message!r} {warning.source!r}" for warning in warned]
    finally:
        sys.unraisablehook = hook
        root.removeHandler(handler)
        root.setLevel(level)
        for logger, before in zip(known, levels, strict=True):
            logger.setLevel(before)
        sinks.printed += [out.getvalue(), err.getvalue()]
