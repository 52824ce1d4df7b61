"""TensorFlow loaded without what no command needs of it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest

from pipeline.runtime.tensorflow_loading import left_out, uncollected

LOAD = "from pipeline.runtime.tensorflow_loading import load_tensorflow; load_tensorflow()"
GROWTH = "TF_FORCE_GPU_ALLOW_GROWTH"


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
        f"import sys; {LOAD};"
        "assert 'keras' in sys.modules and 'matplotlib' not in sys.modules;"
        "import matplotlib.pyplot"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(("asked", "found"), [({}, "true"), ({GROWTH: "false"}, "false")])
def test_no_command_takes_all_memory_of_a_gpu_unless_asked(
    asked: dict[str, str], found: str
) -> None:
    others = {name: value for name, value in os.environ.items() if name != GROWTH}
    program = f"import os; {LOAD};assert os.environ['{GROWTH}'] == '{found}'"
    subprocess.run([sys.executable, "-c", program], env=others | asked, check=True)
