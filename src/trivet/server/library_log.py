"""Lines of libraries: what goes to the standard library's logging comes out as our own structured lines."""

from __future__ import annotations

import logging
import traceback

from trivet.telemetry.log import Logger


class Handler(logging.Handler):
    """Writes records as structured lines.

    Args:
        log: Where they go.
    """

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; its level decides between warning and error."""
        try:
            fields = {"logger": record.name}
            if record.exc_info and record.exc_info[1] is not None:
                fields["error"] = repr(record.exc_info[1])
                fields["traceback"] = "".join(traceback.format_exception(record.exc_info[1]))
            write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
            write(record.getMessage().strip(), **fields)
        except Exception:
            self.handleError(record)


def capture(log: Logger) -> None:
    """Send warnings and errors of all libraries in this process to a log."""
    logging.basicConfig(level=logging.WARNING, handlers=[Handler(log)], force=True)
    logging.captureWarnings(capture=True)
