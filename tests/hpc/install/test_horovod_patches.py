"""The edits of Horovod's source, on a small tree with the lines that they are for."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PATCHES = REPOSITORY / "hpc/install/horovod_patches.py"
CMAKE = "CMakeLists.txt"
TENSORFLOW = "horovod/tensorflow/CMakeLists.txt"
SPAN = "third_party/flatbuffers/include/flatbuffers/stl_emulation.h"
# As in horovod-0.28.1.tar.gz of PyPI, cut short.
SOURCE = {
    CMAKE: """# Add default project CXX flags
set(CMAKE_CXX_FLAGS "${CMAKE_CXX_FLAGS} -pthread -fPIC -Wall -ftree-vectorize")
""",
    TENSORFLOW: """# TF SOURCES
list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/mpi_ops.cc")
list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")
""",
    SPAN: """      FLATBUFFERS_NOEXCEPT {
    data_ = other.data_;
    count_ = other.count_;
  }
""",
}
EDITED = {
    CMAKE: """# Add default project CXX flags
set(CMAKE_CXX_FLAGS "${CMAKE_CXX_FLAGS} -pthread -fPIC -Wall -ftree-vectorize\
 -include stdexcept -include string")
""",
    TENSORFLOW: """# TF SOURCES
list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/mpi_ops.cc")
""",
    SPAN: """      FLATBUFFERS_NOEXCEPT {
    data_ = other.data_;
  }
""",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in SOURCE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def patch(source: Path) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, str(PATCHES), str(source)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=300)


def texts(source: Path) -> dict[str, str]:
    return {name: (source / name).read_text() for name in SOURCE if (source / name).exists()}


def test_three_lines_are_edited_and_each_has_its_reason(source: Path) -> None:
    done = patch(source)
    assert done.returncode == 0, done.stderr
    assert texts(source) == EDITED
    reasons = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in reasons] == [TENSORFLOW, CMAKE, SPAN]
    assert all("gcc" in line or "TensorFlow" in line for line in reasons)


@pytest.mark.parametrize("name", SOURCE)
def test_another_source_is_refused_in_one_line_and_left_as_it_is(name: str, source: Path) -> None:
    (source / name).write_text(EDITED[name])  # a release without the line
    before = texts(source)
    done = patch(source)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {source / name} has 0 lines, not 1, as ")
    assert "made for Horovod 0.28.1" in line
    assert texts(source) == before


def test_a_file_that_is_missing_is_named(source: Path) -> None:
    (source / SPAN).unlink()
    done = patch(source)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {source / SPAN} is missing: ")
    assert texts(source)[CMAKE] == SOURCE[CMAKE]
