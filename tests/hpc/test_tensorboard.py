"""TensorBoard over a run of two workers, served and opened in Chromium as a user would."""

from __future__ import annotations

import gzip
import json
import os
import platform
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpc.distributed.connection import free_port
from hpc.training.samples import LOG, PROGRAM, missing_for_samples
from tests.chromium import FLAGS, PATIENCE_SECONDS
from tests.conftest import SEARCH_PATH
from tests.hpc.launching import run_training

pytestmark = [pytest.mark.browser, pytest.mark.mpi, pytest.mark.timeout(1800)]

CHROMIUM = ("chromium", *FLAGS[:-1], "--window-size=1500,1100")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows a profiled run of two workers."""
    runs = tmp_path_factory.mktemp("runs")
    flags = ("--steps=16", "--log-every=2", "--eval-every=8", "--profile=8:10", "--samples-after=0")
    done = run_training(2, f"--data={tiny_shards}", f"--run={runs}/pair", *flags)
    assert done.returncode == 0, done.stderr
    compose_a_sample(runs / "pair", step=16)
    port = free_port()
    program = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--bind_all"]
    server = subprocess.Popen(
        [*program[:-1], "--host=127.0.0.1", f"--port={port}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE_SECONDS)


def compose_a_sample(run: Path, step: int) -> None:
    """Compose it after the run, whose end waits a minute: on a busy machine, not long enough.

    Root can take back the low priority that the program gives itself.
    """
    if not missing_for_samples():
        assert (run / LOG).exists()  # the run itself started the program
        program = ["nice", "-n", "-19", sys.executable, str(PROGRAM), str(run)]
        subprocess.run(program, input=b"%d\n" % step, check=True, timeout=PATIENCE_SECONDS)


def wait_for(address: str) -> None:
    """Return when the server answers and has read the run."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            if "pair/tensorboard" in fetch(f"{address}/data/runs"):
                return
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.5)
    raise TimeoutError("TensorBoard did not start")


def fetch(address: str) -> str:
    with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS) as answer:
        content = answer.read()
    packed = content.startswith(b"\x1f\x8b")  # the profile plugin packs, asked or not
    return (gzip.decompress(content) if packed else content).decode(errors="replace")


def page(address: str, folder: Path) -> str:
    """The page as Chromium has laid it out; a picture of it goes to $SCREENSHOTS, if set."""
    pictures = os.environ.get("SCREENSHOTS")
    name = f"{urllib.parse.urlparse(address).fragment.split('?')[0]}.png"
    shot = [f"--screenshot={Path(pictures) / name}"] if pictures else []
    done = subprocess.run(
        [
            *CHROMIUM,
            f"--user-data-dir={folder}",
            "--virtual-time-budget=30000",
            *shot,
            "--dump-dom",
            address,
        ],
        env={**os.environ, "PATH": SEARCH_PATH},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_scalars_page_shows_loss_speed_and_the_parts_of_a_step(
    board: str, tmp_path: Path
) -> None:
    shown = page(f"{board}/#timeseries", tmp_path)
    for text in ("pair/tensorboard", "train/gradient_norm", "train/input_seconds"):
        assert text in shown
    tags = json.loads(fetch(f"{board}/data/plugin/scalars/tags"))["pair/tensorboard"]
    assert {"train/loss", "train/step_seconds", "train/tokens_per_second", "valid/loss"} <= set(
        tags
    )


def test_the_profile_tab_lists_both_workers_with_their_traces(board: str, tmp_path: Path) -> None:
    assert "no dashboard by the name" not in page(f"{board}/#profile", tmp_path)
    runs = json.loads(fetch(f"{board}/data/plugin/profile/runs"))
    assert {run.split("/")[2] for run in runs} == {"rank-0", "rank-1"}
    for run in runs:
        name = urllib.parse.quote(run)
        tools = json.loads(fetch(f"{board}/data/plugin/profile/run_tools?run={name}"))
        viewer = next(tool for tool in tools if tool.startswith("trace_viewer"))
        query = f"run={name}&tag={viewer}"
        host = json.loads(fetch(f"{board}/data/plugin/profile/hosts?{query}"))[0]["hostname"]
        trace = fetch(f"{board}/data/plugin/profile/data?{query}&host={host}")
        assert "MatMul" in trace
        assert '"train' in trace


def test_the_text_page_tells_hosts_versions_and_command(board: str) -> None:
    tag = "run=pair/tensorboard&tag=run"
    told = json.loads(fetch(f"{board}/data/plugin/text/text?{tag}"))[-1]["text"]
    for part in ("hosts", platform.node(), "horovod", "tensorflow", "hpc/train.py"):
        assert part in told


needs_sound = pytest.mark.skipif(bool(missing_for_samples()), reason="no FluidSynth here")


@needs_sound
def test_the_music_of_the_run_is_heard_and_seen_beside_real_music(
    board: str, tmp_path: Path
) -> None:
    for run in ("pair/tensorboard/samples", "pair/tensorboard/real"):
        # TensorBoard reads on while it serves.
        sounds, pictures, numbers = (
            wait_for_tags(board, plugin, run) for plugin in ("audio", "images", "scalars")
        )
        assert sounds == ["valid_music/sound"]
        assert pictures == ["valid_music/piano_roll"]
        assert "valid_music/pitch_entropy" in numbers
    query = urllib.parse.urlencode({"run": run, "tag": "valid_music/sound", "sample": 0})
    (sample, *_) = json.loads(fetch(f"{board}/data/plugin/audio/audio?{query}"))
    source = f"{board}/data/plugin/audio/individualAudio?{sample['query']}"
    with urllib.request.urlopen(source) as answer:
        sound = answer.read()
    assert sound.startswith(b"RIFF") and len(sound) > 100_000
    # TensorBoard's own player lies in a shadow tree, which is not dumped: play the source itself.
    player = f"<audio src='{source}' onloadedmetadata='document.title=this.duration'></audio>"
    (tmp_path / "player.html").write_text(player)
    shown = page(f"file://{tmp_path}/player.html", tmp_path)
    assert float(shown.split("<title>")[1].split("<")[0]) > 10
    histograms = wait_for_tags(board, "histograms", "pair/tensorboard/samples")
    assert "valid_music/probability_of_real_token" in histograms


def wait_for_tags(address: str, plugin: str, run: str) -> list[str]:
    """The tags of a run that a plugin shows, when it has some."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        runs = json.loads(fetch(f"{address}/data/plugin/{plugin}/tags"))
        if runs.get(run):
            return list(runs[run])
        time.sleep(0.5)
    raise TimeoutError(f"TensorBoard shows no {plugin} of {run}")


def test_one_page_lays_out_loss_speed_and_music(board: str) -> None:
    layout = json.loads(fetch(f"{board}/data/plugin/custom_scalars/layout"))
    assert [category["title"] for category in layout["category"]] == ["loss", "speed", "music"]
    assert "(train|valid)/loss$" in json.dumps(layout)
