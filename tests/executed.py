"""Execute a notebook as `make notebooks` does, small, in a folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.conftest import REPOSITORY
from tests.hpc.launching import MPI_ENVIRONMENT


def execution(name: str, work: Path) -> tuple[list[str], dict[str, str], Path]:
    """The command that executes notebooks/NAME.ipynb, its environment, and what it writes."""
    result = work / "executed" / f"{name}.ipynb"
    result.parent.mkdir()
    environment = {
        **MPI_ENVIRONMENT,
        "CHORALE_QUICK": "1",
        "CHORALE_WORK": str(work),
        # The clone that is tested, whatever is installed, and no file in the user's home.
        "PYTHONPATH": str(REPOSITORY),
        "IPYTHONDIR": str(work / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(work / "jupyter"),
    }
    command = [sys.executable, "-m", "jupyter", "execute", "--startup_timeout=600"]
    book = REPOSITORY / "notebooks" / f"{name}.ipynb"
    return [*command, f"--output={result.with_suffix('')}", str(book)], environment, result


def texts(result: Path) -> str:
    """All text that the cells of an executed notebook printed or returned."""
    import nbformat

    book = nbformat.read(result, as_version=4)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    shown = [output.get("text", "") for output in outputs]
    shown += [str(output.get("data", {}).get("text/plain", "")) for output in outputs]
    shown += [str(output.get("data", {}).get("text/markdown", "")) for output in outputs]
    return "\n".join(shown)


def kinds(result: Path) -> list[str]:
    """The media types of all that the cells of an executed notebook showed."""
    import nbformat

    book = nbformat.read(result, as_version=4)
    outputs = [output for cell in book.cells for output in cell.get("outputs", [])]
    return [kind for output in outputs for kind in output.get("data", {})]
