"""How every command ends: 0 when the work is done, else one line on stderr and a non-zero code."""

from __future__ import annotations

import sys
from collections.abc import Callable


def run_command(work: Callable[[], int | None]) -> int:
    """The exit code of `work`: its own, 0 for None, 1 after an error that a user can mend.

    ValueError, OSError and RuntimeError carry a message made for the user and are printed as one
    line; anything else is our fault and keeps its traceback.
    """
    try:
        return work() or 0
    except KeyboardInterrupt:
        print("error: interrupted; nothing half-written was left behind", file=sys.stderr)
        return 130
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
    except (ValueError, RuntimeError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return 1
