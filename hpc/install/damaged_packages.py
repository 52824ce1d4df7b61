"""Print the packages of this environment that are not whole: a file is missing or cut short.

pip goes by the metadata alone: it never repairs a package that Ctrl-C or a full disk cut off. Sizes
are those of the package's RECORD (packaging.python.org, "Recording installed projects").
"""

from importlib.metadata import Distribution, distributions
from pathlib import Path


def is_whole(package: Distribution) -> bool:
    """Whether each of its files is there, in the size that it had in the wheel."""
    if package.files is None:  # no RECORD, which is written last
        return False
    sizes = {
        Path(file.locate()): file.size
        for file in package.files
        # Python writes compiled files anew.
        if file.size is not None and "__pycache__" not in file.parts
    }
    return all(path.is_file() and path.stat().st_size == size for path, size in sizes.items())


print(*sorted(package.name for package in distributions() if not is_whole(package)), sep=", ")
