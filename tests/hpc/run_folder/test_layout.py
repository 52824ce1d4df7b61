"""The lock of a run folder: one process at a time, however the one before it ended."""

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from hpc.run_folder.layout import lock_run
from tests.conftest import REPOSITORY

HOLDER = """
import sys
from pathlib import Path
from hpc.run_folder.layout import lock_run
lock = lock_run(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_the_folder_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    monkeypatch.setattr("hpc.run_folder.layout.LOCK_SECONDS", 0.1)
    with pytest.raises(ValueError, match="another process is training"):
        lock_run(tmp_path)
    holder.kill()
    holder.communicate()
    with lock_run(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_cannot_lock_is_warned_of(
    number: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock_run(tmp_path):
        assert f"{tmp_path / 'lock'} cannot be locked (no locks here)" in capsys.readouterr().err
