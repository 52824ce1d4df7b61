"""The facts of this host: versions, devices, network, data. This process loads no TensorFlow."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

import psutil

from hpc.distributed.processor import gpus, output_of
from pipeline.dataset.manifest import Manifest
from pipeline.runtime.provenance import REPOSITORY, commit, library_versions

OPEN_MPI_FILE = "~/.openmpi/mca-params.conf"
LAUNCHER_FILE = "~/.prte/mca-params.conf"  # of Open MPI 5; before, Open MPI's file served both
# A user's file, and the name of the one for all users of a host, which it comes before.
MCA_FILES = {OPEN_MPI_FILE: "openmpi-mca-params.conf", LAUNCHER_FILE: "prte-mca-params.conf"}

# Runs in a process of its own, since loading takes seconds and may crash.
LOAD_LIBRARIES = """
import json, sys
report = {}
try:
    import mpi4py
    mpi4py.rc.initialize = False
    from mpi4py import MPI
    report["mpi"] = MPI.Get_library_version().split(",")[0].strip("\\0 ")
except Exception as error:
    report["mpi_error"] = f"mpi4py: {error}"
try:
    import tensorflow as tf
    report["tensorflow_gpus"] = len(tf.config.list_physical_devices("GPU"))
    import horovod.tensorflow as hvd
    built = {"MPI": hvd.mpi_built, "Gloo": hvd.gloo_built, "NCCL": hvd.nccl_built}
    report["horovod"] = [name for name, is_built in built.items() if is_built()]
except Exception as error:
    report["horovod_error"] = f"{type(error).__name__}: {error}"
print(json.dumps(report))
"""


def collect(data_dir: Path, names: Sequence[str], quick: bool = False) -> dict[str, Any]:
    """The facts of this host, ready for JSON; `names` are the hosts that it must resolve.

    A fact that cannot be found is None, with the reason as `..._error`: no exception is raised.
    `quick` does not load the libraries, which takes seconds.
    """
    return {
        "host": socket.gethostname(),
        "executable": sys.executable,
        "commit": commit(),
        "versions": library_versions(),
        "libraries": None if quick else load_libraries(),
        "mpirun": mpirun_version(),
        "mca": {file: mca_settings(file) for file in MCA_FILES},
        "gpus": gpus(),
        "cores": [len(os.sched_getaffinity(0)), os.cpu_count() or 1],
        "ports": ports(),
        "interfaces": interfaces(),
        "names": {name: address_of(name) for name in names},
        **_data(data_dir),
        **_soundfont(),
    }


def load_libraries(timeout: float = 120.0) -> dict[str, Any]:
    """What MPI, TensorFlow and Horovod report once loaded, or the error of loading them."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", LOAD_LIBRARIES],
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except subprocess.TimeoutExpired:
        return {"horovod_error": f"not loaded within {timeout:.0f} s"}
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return {"horovod_error": last}


def mpirun_version() -> str | None:
    """The version line of mpirun, such as `mpirun (Open MPI) 4.1.4`; None without mpirun."""
    output = output_of(["mpirun", "--version"])
    return output.splitlines()[0] if output else None


def mca_settings(file: str) -> dict[str, str]:
    """The settings that mpirun reads here from one of `MCA_FILES` and from that of all users."""
    prefix = Path(shutil.which("mpirun") or sys.executable).resolve().parents[1]
    of_all = [Path(folder) / MCA_FILES[file] for folder in ("/etc/openmpi", prefix / "etc")]
    found = {}
    for path in (*of_all, Path(file).expanduser()):
        with suppress(OSError, UnicodeDecodeError):
            for line in path.read_text().splitlines():
                name, equals, value = line.partition("#")[0].partition("=")
                if equals:
                    found[name.strip()] = value.strip()
    return found


def ports() -> list[int] | None:
    """[free, all] of the TCP ports that Linux assigns to programs; None if it cannot be read."""
    try:
        first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        taken = set()
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if Path(table).exists():
                lines = Path(table).read_text().splitlines()[1:]
                taken |= {int(line.split()[1].rpartition(":")[2], 16) for line in lines}
    except (OSError, ValueError):
        return None
    total = last - first + 1
    return [total - sum(first <= port <= last for port in taken), total]


def interfaces() -> list[dict[str, Any]]:
    """Name, IPv4 address with prefix, and megabits per second (or None) of each that is up.

    Loopback is left out. An interface with several addresses comes once for each.
    """
    states = psutil.net_if_stats()
    return [
        {
            "name": name,
            "address": IPv4Interface(f"{entry.address}/{entry.netmask}").with_prefixlen,
            "megabits": states[name].speed or None,
        }
        for name, entries in psutil.net_if_addrs().items()
        if name in states and states[name].isup
        for entry in entries
        if entry.family == socket.AF_INET and not entry.address.startswith("127.")
    ]


def address_of(name: str) -> str | None:
    """The IPv4 address to which this host resolves a name; None if it does not."""
    try:
        return socket.gethostbyname(name)
    except OSError:
        return None


def _data(data_dir: Path) -> dict[str, Any]:
    try:
        manifest = Manifest.load(data_dir)
        missing = [shard.file for shard in manifest.shards if not (data_dir / shard.file).is_file()]
    except (ValueError, OSError) as error:
        return {"data": None, "data_error": str(error)}
    if missing:
        return {"data": None, "data_error": f"{data_dir}: {len(missing)} shards are missing"}
    return {"data": manifest.digest(), "data_error": None}


def _soundfont() -> dict[str, Any]:
    from model.rendering.audio import check_synthesizer
    from model.rendering.soundfonts import find_soundfont

    try:
        check_synthesizer()
        return {"soundfont": str(find_soundfont()), "soundfont_error": None}
    except ValueError as error:
        return {"soundfont": None, "soundfont_error": re.sub(r"\s+", " ", str(error))}
