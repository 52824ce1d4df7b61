"""TensorFlow loaded without what no command needs of it."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from pipeline.quiet import left_out, uncollected


def test_a_package_left_out_is_missing_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with left_out("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    with left_out("colorsys"):  # who has it already keeps it
        assert sys.modules["colorsys"] is colorsys


def test_garbage_is_collected_again_after_what_failed() -> None:
    with pytest.raises(OSError), uncollected():
        assert not gc.isenabled()
        raise OSError
    assert gc.isenabled()


def test_tensorflow_comes_without_matplotlib_which_can_still_be_used() -> None:
    program = (
        "import sys; from pipeline.quiet import load_tensorflow; load_tensorflow();"
        "assert 'keras' in sys.modules and 'matplotlib' not in sys.modules;"
        "import matplotlib.pyplot"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
