"""Edit the source of Horovod 0.28.1 so that today's TensorFlow and compilers build it.

    horovod_patches.py FOLDER       the unpacked source

Horovod gets no more releases. Where the source is not the one that these edits were made for, no
file is changed, one line says which edit does not fit, and the exit code is 1.
"""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Patch:
    """Put `new` for `old`, which stands once in `file`."""

    file: str
    old: str
    new: str
    reason: str


PATCHES = (
    Patch(
        "horovod/tensorflow/CMakeLists.txt",
        'list(APPEND TF_SOURCES "${PROJECT_SOURCE_DIR}/horovod/tensorflow/xla_mpi_ops.cc")\n',
        "",
        "TensorFlow's wheel is without XLA's headers since 2.19. Only Horovod's operations inside "
        "jit_compile=True are lost, and this program has none.",
    ),
    Patch(
        "CMakeLists.txt",
        'set(CMAKE_CXX_FLAGS "${CMAKE_CXX_FLAGS} -pthread -fPIC -Wall -ftree-vectorize")\n',
        'set(CMAKE_CXX_FLAGS "${CMAKE_CXX_FLAGS} -pthread -fPIC -Wall -ftree-vectorize'
        ' -include stdexcept -include string")\n',
        "Some files use std::runtime_error and std::string without their headers, which the other "
        "headers of gcc 13 and later no longer bring along.",
    ),
    Patch(
        "third_party/flatbuffers/include/flatbuffers/stl_emulation.h",
        "    count_ = other.count_;\n",
        "",
        "The line assigns to a constant member, in a function that nobody calls: gcc 14 refuses it "
        "all the same.",
    ),
)


def patched(folder: Path) -> dict[Path, str]:
    """The new text of each file. Raises ValueError where an edit does not fit."""
    texts: dict[Path, str] = {}
    for patch in PATCHES:
        file = folder / patch.file
        if not file.is_file():
            raise ValueError(f"{file} is missing")
        text = texts.get(file) or file.read_text()
        if text.count(patch.old) != 1:
            raise ValueError(
                f"{file} has {text.count(patch.old)} lines, not 1, as {patch.old.strip()}"
            )
        texts[file] = text.replace(patch.old, patch.new)
    return texts


def main() -> int:
    """Exit code: 0 when all files are edited, 1 when none is."""
    try:
        texts = patched(Path(sys.argv[1]))
    except ValueError as error:
        print(
            f"error: {error}: hpc/install/horovod_patches.py is made for Horovod 0.28.1 of PyPI. "
            "Look whether another source needs this edit at all",
            file=sys.stderr,
        )
        return 1
    for file, text in texts.items():
        file.write_text(text)
    for patch in PATCHES:
        print(f"{patch.file}: {patch.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
