"""Structured logs on standard error: readable text, or one JSON object a line."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

LEVELS = ("debug", "info", "warning", "error")


def _text(_logger: object, _method: str, event: EventDict) -> str:
    """`2026-01-01T00:00:00Z info serving address=tcp://127.0.0.1:7400`, then any traceback."""
    head = f"{event.pop('timestamp')} {event.pop('level')} {event.pop('event')}"
    traceback = event.pop("exception", None)
    pairs = [f"{key}={_quoted(value)}" for key, value in event.items()]
    return " ".join([head, *pairs]) + (f"\n{traceback}" if traceback else "")


def _quoted(value: object) -> str:
    text = str(value)
    return repr(text) if text == "" or any(letter in text for letter in ' "\n=') else text


class _StandardError:
    """Writes lines to standard error; a reader that is gone must not end or hold the worker."""

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    debug = info = warning = error = msg


def _logger(*_: Any) -> _StandardError:
    return _StandardError()


def configure_logs(form: Literal["text", "json"], level: str) -> None:
    """Sets the process's log format and threshold; called once, before anything is logged."""
    renderer: list[Processor]
    if form == "json":
        renderer = [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    else:
        renderer = [structlog.processors.format_exc_info, _text]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=_logger,
    )
