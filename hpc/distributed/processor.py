"""The processor and the GPUs of this host, and the cores that a rank may use."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hpc.distributed.launcher import Place

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # in /proc/cpuinfo; the last on ARM
TOPOLOGY = Path("/sys/devices/system/cpu")
MPIRUN = ("mpirun", "mpiexec", "orterun", "prterun")  # of Open MPI 4 and 5
# Parts of mpirun's command line by which a user says which cores a rank gets.
BINDING_WORDS = (
    *("bind-to", "binding_policy", "cpu-set", "cpu-list", "rankfile", "-rf"),
    *("taskset", "numactl", "hwloc-bind"),
)


def share_of_cores(place: Place, *, unbind: bool = False) -> list[int]:
    """The cores that this process may compute on: its share, unless the launcher has bound it.

    Binding by Open MPI shows as an affinity smaller than the machine. It is kept, unless it leaves
    less than the share and `unbind` is true.
    """
    allowed = by_core(os.sched_getaffinity(0))
    if unbind:
        of_job = cores_of_job(os.environ)
        if len(allowed) < len(of_job) // place.local_size:
            return equal_part(of_job, place.local_rank, place.local_size)
    if len(allowed) < (os.cpu_count() or 1) or place.local_size <= 1:
        return allowed
    return equal_part(allowed, place.local_rank, place.local_size)


def binding_was_asked_for(
    environ: Mapping[str, str], parent_argv: Sequence[str] | None = None
) -> bool | None:
    """Did the user ask mpirun for a binding? None where this rank cannot know.

    Open MPI 4 hands the option to every rank as a variable. mpirun's own command line has it too,
    but only the ranks on its host are its children: the others are children of a daemon, which
    under Open MPI 5 knows nothing of it.
    """
    if any("binding_policy" in name or "base_cpu_set" in name for name in environ):
        return True
    argv = list(_argv_of(os.getppid()) if parent_argv is None else parent_argv)
    if argv and Path(argv[0]).name in MPIRUN:
        return any(word in argument for argument in argv[1:] for word in BINDING_WORDS)
    return False if "OMPI_MCA_orte_bound_at_launch" in environ else None


def cores_of_job(environ: Mapping[str, str]) -> list[int]:
    """The cores that the job may use on this host: those of mpirun or its daemon, our parent.

    Slurm's and a container's limits hold for the parent too. Where Slurm only counts cores and
    limits nobody, and the job has not all of them, it is not known which are the job's: then they
    are those of this process.
    """
    try:
        cores = by_core(os.sched_getaffinity(os.getppid()))
    except OSError:
        cores = []
    granted = environ.get("SLURM_CPUS_ON_NODE", "")
    if not cores or (granted.isdecimal() and int(granted) < len(cores)):
        return by_core(os.sched_getaffinity(0))
    return cores


def by_core(numbers: Iterable[int], folder: Path = TOPOLOGY) -> list[int]:
    """Linux's processor numbers in the order of sockets and cores: threads of a core in a row."""

    def position(number: int) -> tuple[int, int, int]:
        topology = folder / f"cpu{number}/topology"
        try:
            socket = int((topology / "physical_package_id").read_text())
            return socket, int((topology / "core_id").read_text()), number
        except (OSError, ValueError):
            return 0, number, number

    return sorted(numbers, key=position)


def cores_in_words(cores: Sequence[int]) -> str:
    """'core 3' or 'cores 0, 1': by Linux's numbers of processors."""
    return f"core{'s' * (len(cores) > 1)} {', '.join(map(str, cores))}"


def _argv_of(pid: int) -> list[str]:
    """The command line of a process; empty if it cannot be read."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (OSError, ValueError):
        return []


def equal_part(cores: Sequence[int], index: int, num_parts: int) -> list[int]:
    """The part of this index, of equal parts of the cores; at least one core."""
    size = max(len(cores) // num_parts, 1)
    first = index * size % len(cores)
    return list(cores[first : first + size])


def processor() -> str:
    """The name of this host's CPU; its architecture where Linux gives no name."""
    try:
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        match = None
    return match[1].strip() if match else platform.machine()


def has_bfloat16_products() -> bool:
    """Has this host's CPU instructions for products of bfloat16, by its flags in Linux?"""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    names = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return bool(BFLOAT16_FLAGS & set(names.partition(":")[2].split()))


def gpus() -> list[str]:
    """Name, memory and driver of every NVIDIA GPU; an empty list without any."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    output = output_of(query)
    return output.splitlines() if output else []


def output_of(argv: Sequence[str]) -> str | None:
    """The output of a command; None if it is not installed, fails, or takes more than 20 s."""
    if shutil.which(argv[0]) is None:
        return None
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
