"""What a user sees of a command in a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Sequence
from threading import Thread

COLUMNS = 80
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def run_on_terminal(command: Sequence[str], **environment: str) -> tuple[int, str]:
    """The exit code, and all that the command wrote on the terminal, standard error included."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    shown: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                shown.append(part)
        except OSError:  # the last program has closed the terminal
            pass

    reader = Thread(target=read)
    reader.start()
    done = subprocess.run(
        command,
        env={**os.environ, "TERM": "xterm", **environment},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        timeout=1200,
        check=False,
    )
    os.close(theirs)
    reader.join()
    os.close(ours)
    return done.returncode, b"".join(shown).decode()


def lines_on(terminal: str) -> list[str]:
    """The lines and bars that were shown, one by one, without colours."""
    return [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", terminal)) if line]
