"""TensorBoard over a run of two workers, served and opened in Chromium as a user would."""

from __future__ import annotations

import gzip
import json
import os
import platform
import re
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
from hpc.training.sample_process import LOG, PROGRAM, missing_for_samples
from tests.chromium import FLAGS, PATIENCE_SECONDS
from tests.conftest import SEARCH_PATH
from tests.hpc.launching import MPI_ENVIRONMENT, TINY_FLAGS, mpi_command
from tests.terminals import COLUMNS, lines_on, run_on_terminal

pytestmark = [pytest.mark.browser, pytest.mark.mpi, pytest.mark.timeout(1800)]

CHROMIUM = ("chromium", *FLAGS[:-1], "--window-size=1500,1100")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny_shards: Path) -> Path:
    """A folder with a profiled run of two workers, and what its terminal showed."""
    runs = tmp_path_factory.mktemp("runs")
    flags = ("--steps=16", "--log-every=2", "--eval-every=8", "--profile=8:10", "--samples-after=0")
    command = mpi_command(2, *TINY_FLAGS, f"--data={tiny_shards}", f"--run={runs}/pair", *flags)
    # Open MPI 5 may else complain of a network that these two processes of one host do not use.
    code, terminal = run_on_terminal(command, **MPI_ENVIRONMENT, OMPI_MCA_btl="^tcp")
    assert code == 0, terminal
    (runs / "terminal.txt").write_text(terminal)
    compose_a_sample(runs / "pair", step=16)
    return runs


@pytest.fixture(scope="module")
def board(runs: Path) -> Iterator[str]:
    """The address of a TensorBoard that shows the run."""
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
            if "pair" in fetch(f"{address}/data/runs"):
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
    assert shown.index("1 loss/train") < shown.index("1 loss/valid") < shown.index("2 perplexity")
    tags = json.loads(fetch(f"{board}/data/plugin/scalars/tags"))["pair"]
    assert {"1 loss/train", "1 loss/valid", "4 seconds of a step/4 saving"} <= set(tags)


def test_runs_are_called_by_their_folders(board: str) -> None:
    runs = set(json.loads(fetch(f"{board}/data/runs")))
    assert {"pair", "pair/rank-0", "pair/rank-1"} <= runs
    assert not [run for run in runs if "tensorboard" in run]


def test_the_terminal_of_mpirun_shows_short_lines_and_a_bar_with_an_eta(runs: Path) -> None:
    shown = lines_on((runs / "terminal.txt").read_text())
    lines = [line for line in shown if line.startswith("step ")]
    assert len(lines) == 10  # 8 of train, 2 of valid
    assert re.fullmatch(r"step 16/16 train: loss [\d.]+, [\d,]+ tokens/s, 0:00:00 left", lines[-2])
    assert re.fullmatch(r"step 16/16 valid: loss [\d.]+, perplexity [\d.]+", lines[-1])
    bars = [line for line in shown if line.startswith("training")]
    assert re.search(r"\d+/16 [\d:-]+$", bars[0])
    # A path is not broken: pytest's can be long.
    assert max(len(line) for line in shown if str(runs) not in line) <= COLUMNS
    log = (runs / "pair" / "logs" / "rank-0.log").read_text()
    assert not any(line.startswith("training") for line in lines_on(log)) and "\x1b" not in log
    assert lines[-1] in log
    node = platform.node()
    where = f"profile of steps 8 to 10 in {runs}/pair: rank-0 on {node}, rank-1 on {node} "
    assert where in " ".join(log.split())


def test_hparams_have_readable_names_and_the_measures_of_the_run(board: str) -> None:
    body = json.dumps({"experimentName": "", "hparamsLimit": 0}).encode()
    address = f"{board}/data/plugin/hparams/experiment"
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
        found = json.load(answer)
    names = {info["name"] for info in found["hparamInfos"]}
    assert {"preset", "learning rate", "global batch size", "workers", "strategy"} <= names
    assert not names & {"run", "log every", "start timeout", "head dropout"}
    measures = [info["displayName"] for info in found["metricInfos"]]
    assert measures == ["valid loss", "train loss", "valid perplexity", "tokens per second"]


def test_the_profile_tab_lists_both_workers_with_their_traces(board: str, tmp_path: Path) -> None:
    assert "no dashboard by the name" not in page(f"{board}/#profile", tmp_path)
    runs = json.loads(fetch(f"{board}/data/plugin/profile/runs"))
    assert {run.split("/")[1] for run in runs} == {"rank-0", "rank-1"}
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
    tag = "run=pair&tag=run"
    told = json.loads(fetch(f"{board}/data/plugin/text/text?{tag}"))[-1]["text"]
    for part in ("hosts", platform.node(), "horovod", "tensorflow", "hpc/train.py"):
        assert part in told


needs_sound = pytest.mark.skipif(bool(missing_for_samples()), reason="no FluidSynth here")


@needs_sound
def test_the_music_of_the_run_is_heard_and_seen_beside_real_music(
    board: str, tmp_path: Path
) -> None:
    for run in ("pair/samples", "pair/real"):
        # TensorBoard reads on while it serves.
        sounds, pictures, numbers = (
            wait_for_tags(board, plugin, run) for plugin in ("audio", "images", "scalars")
        )
        assert sounds == ["7 music/sound"]
        assert pictures == ["7 music/piano roll"]
        assert "7 music/pitch entropy" in numbers
    query = urllib.parse.urlencode({"run": run, "tag": "7 music/sound", "sample": 0})
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
    histograms = wait_for_tags(board, "histograms", "pair/samples")
    assert "7 music/probability of a real token" in histograms


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
    assert [category["title"] for category in layout["category"]] == ["Loss", "Speed", "Music"]
    titles = [chart["title"] for chart in layout["category"][0]["chart"]]
    assert titles[0] == "Loss of train and valid, nats per token"
