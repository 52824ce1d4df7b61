"""Checks of the facts of some hosts for a run on all of them: findings, each with what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpc.diagnostics.host_facts import LAUNCHER_FILE, OPEN_MPI_FILE
from hpc.diagnostics.remote_hosts import Answer, Trial
from pipeline.runtime.provenance import advice_on_commits

# How bad, by exit code. As monitoring plugins have it: 0 OK, 1 WARNING, 2 CRITICAL.
STATUSES = ("ok", "warning", "failed")
MAX_CLOCK_SECONDS = 1.0  # beyond it the logs of the hosts no longer read as one
MIN_FREE_PORTS = 1000
# Words of mpirun's error message, and what to do about them.
LAUNCH_ADVICE = {
    "run as root": "be another user, or export OMPI_ALLOW_RUN_AS_ROOT=1 "
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    "no mpi4py": "run make setup there, and start mpirun with .venv/bin first in PATH",
}
Facts = Mapping[str, Mapping[str, Any]]  # host -> its facts


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    check: str
    status: str  # one of STATUSES
    found: str
    advice: str = ""


def by_host(values: Mapping[str, object]) -> str:
    """`value` if all hosts have the same one, else `host: value; host: value`."""
    if len(set(map(str, values.values()))) == 1:
        return str(next(iter(values.values())))
    return "; ".join(f"{host}: {value}" for host, value in values.items())


def same_everywhere(
    check: str, values: Mapping[str, str | None], missing: str, differing: str, without: str
) -> Finding:
    """Ok if all hosts have the same value, the status `without` if no host has one, else failed."""
    if all(values.values()):
        same = len(set(values.values())) == 1
        return (
            Finding(check, "ok", by_host(values))
            if same
            else (Finding(check, "failed", by_host(values), differing))
        )
    shown = {host: value or "none" for host, value in values.items()}
    status = without if not any(values.values()) else "failed"
    return Finding(check, status, by_host(shown), missing if status != "ok" else "")


def versions(facts: Facts) -> list[Finding]:
    """Whether Python, TensorFlow, Horovod and the program are the same on all hosts."""
    setup = "run make setup on every host, from the same commit"
    found = {
        name: {host: fact["versions"].get(name) for host, fact in facts.items()}
        for name in ("python", "tensorflow", "horovod")
    }
    commits = {host: fact["commit"] for host, fact in facts.items()}
    return [
        same_everywhere("Python", found["python"], setup, setup, "failed"),
        same_everywhere("TensorFlow", found["tensorflow"], setup, setup, "failed"),
        same_everywhere(
            "Horovod",
            found["horovod"],
            "make horovod builds it; without it --strategy auto uses multiworker",
            setup,
            "warning",
        ),
        same_everywhere("commit", commits, "", advice_on_commits(commits.values()), "ok"),
    ]


def libraries(facts: Facts) -> list[Finding]:
    """Whether the libraries load and were built with what a run needs; empty after --quick."""
    findings = []
    built = {}
    for host, fact in facts.items():
        loaded = fact["libraries"]
        if loaded is None:
            return []
        if "horovod" in loaded:
            built[host] = ", ".join(loaded["horovod"])
            if "MPI" not in loaded["horovod"]:
                findings.append(_built_without("MPI", "failed", host))
            if fact["gpus"] and "NCCL" not in loaded["horovod"]:
                findings.append(_built_without("NCCL", "warning", host))
        elif fact["versions"].get("horovod"):
            advice = f"make horovod on {host} builds it against the TensorFlow that is there"
            findings.append(
                Finding("Horovod", "failed", f"{host}: {loaded['horovod_error']}", advice)
            )
        seen = loaded.get("tensorflow_gpus", 0)
        if seen < len(fact["gpus"]):
            shown = f"{host}: TensorFlow sees {seen} of {len(fact['gpus'])} GPUs"
            findings.append(
                Finding(
                    "GPUs",
                    "failed",
                    shown,
                    "pip install -c constraints.txt -e '.[gpu]' there",
                )
            )
    if built:
        findings.insert(0, Finding("Horovod ops", "ok", by_host(built)))
    return findings


def _built_without(library: str, status: str, host: str) -> Finding:
    return Finding(
        "Horovod ops",
        status,
        f"{host}: built without {library}",
        f"make horovod on {host}, with {library} installed before",
    )


def mpi(facts: Facts) -> list[Finding]:
    """Whether all hosts have one MPI, and mpi4py was built for it."""
    status = "warning" if len(facts) == 1 else "failed"
    commands = {host: fact["mpirun"] for host, fact in facts.items()}
    advice = "install the same Open MPI on every host (Debian: apt-get install openmpi-bin)"
    findings = [same_everywhere("mpirun", commands, advice, advice, status)]
    for host, fact in facts.items():
        loaded, command = (fact["libraries"] or {}), fact["mpirun"] or ""
        number = re.search(r"\d+\.\d+\.\d+", command)
        if "mpi_error" in loaded:
            again = f"make setup on {host}"
            findings.append(Finding("mpi4py", status, f"{host}: {loaded['mpi_error']}", again))
        elif "mpi" in loaded and number and number[0] not in loaded["mpi"]:
            shown = f"{host}: mpi4py uses {loaded['mpi']}, mpirun is {number[0]}"
            again = f"put the mpirun of that MPI first in PATH on {host}"
            findings.append(Finding("mpi4py", "failed", shown, again))
    return findings


def devices(facts: Facts, slots: Mapping[str, int]) -> list[Finding]:
    """Whether GPUs are alike on all hosts, and GPUs, cores and ports suffice for the processes."""
    shown = {host: ", ".join(fact["gpus"]) or "none" for host, fact in facts.items()}
    alike = len(set(shown.values())) == 1
    slowest = "" if alike else "the slowest GPU sets the pace; give each host as many as it has"
    findings = [Finding("GPUs", "ok" if alike else "warning", by_host(shown), slowest)]
    for host, fact in facts.items():
        available, kind = (
            (len(fact["gpus"]), "GPUs") if fact["gpus"] else (fact["cores"][0], "cores")
        )
        if slots[host] > available:
            found = f"{host}: {slots[host]} processes for {available} {kind}"
            findings.append(Finding(kind, "warning", found, f"-H {host}:{available}"))
    cores = {host: "{} of {}".format(*fact["cores"]) for host, fact in facts.items()}
    findings.append(Finding("cores", "ok", by_host(cores) + " may be used"))
    free = {host: fact["ports"] for host, fact in facts.items() if fact["ports"]}
    for host, (unused, total) in free.items():
        if unused < MIN_FREE_PORTS:
            found = f"{host}: {unused} of {total} free"
            findings.append(Finding("ports", "warning", found, f"see ss -tan on {host}"))
    if free and not any(finding.check == "ports" for finding in findings):
        fewest = min(unused for unused, _ in free.values())
        findings.append(Finding("ports", "ok", f"at least {fewest} free"))
    return findings


def clocks(answers: Mapping[str, Answer]) -> list[Finding]:
    """Whether the clocks of the hosts agree, within the error of the measurement."""
    if len(answers) < 2:
        return []
    offsets = [answer.clock_offset for answer in answers.values()]
    skew = max(offsets) - min(offsets)
    error = max(answer.clock_error for answer in answers.values())
    found = f"{1000 * skew:.1f} ms apart, give or take {1000 * error:.1f}"
    if skew - error <= MAX_CLOCK_SECONDS:
        return [Finding("clocks", "ok", found)]
    shown = {host: f"{answer.clock_offset:+.1f} s" for host, answer in answers.items()}
    return [Finding("clocks", "warning", by_host(shown), "run chrony or ntpd on every host")]


def files(facts: Facts, data_was_named: bool) -> list[Finding]:
    """Whether all hosts have the same data set, and one has a SoundFont to render music."""
    findings = []
    digests = {host: fact["data"] and fact["data"][:12] for host, fact in facts.items()}
    errors = {host: fact["data_error"] for host, fact in facts.items() if fact["data_error"]}
    if errors:
        # A new machine without --data may train although it has no data set yet.
        absent = len(errors) == len(facts) and not data_was_named
        status = "warning" if absent else "failed"
        shown = by_host({host: fact["data_error"] or "complete" for host, fact in facts.items()})
        advice = "preprocess it once and rsync it to every host"
        findings.append(Finding("data", status, shown, advice))
    else:
        advice = "rsync the data folder from one host to the others"
        findings.append(same_everywhere("data", digests, "", advice, "failed"))
    fonts = {host: fact["soundfont"] for host, fact in facts.items()}
    advice = "apt-get install fluidsynth timgm6mb-soundfont, on the host that composes"
    if any(fonts.values()):
        some = {host: font or "none" for host, font in fonts.items()}
        findings.append(Finding("SoundFont", "ok", by_host(some)))
    else:
        found = by_host({host: fact["soundfont_error"] for host, fact in facts.items()})
        findings.append(Finding("SoundFont", "warning", found, advice))
    return findings


def launch(
    facts: Facts, slots: Mapping[str, int], bare: Trial, kept: Trial | None
) -> list[Finding]:
    """Whether mpirun starts a process for each slot and leaves each its cores.

    `bare` is the trial of the plain command; `kept` is the one on the shared network only, made if
    the first failed.
    """
    trial = kept if kept is not None and kept.ranks else bare
    if not trial.ranks:
        # One host can train without mpirun.
        status = "failed" if len(facts) > 1 else "warning"
        return [Finding("launch", status, bare.complaint, _launch_advice(bare))]
    findings = []
    if trial is not bare:
        advice = "put the settings below into their files on every host"
        found = f"the bare mpirun fails: {bare.complaint}"
        findings.append(Finding("launch", "warning", found, advice))
    started = [host for host, _, _ in trial.ranks]
    found = f"{_counted(len(started), 'process', 'es')} on {', '.join(dict.fromkeys(started))}"
    findings.append(Finding("launch", "ok", found))
    here = {path for _, path, _ in trial.ranks}
    if len(here) > 1:
        shown = {host: path for host, path, _ in trial.ranks}
        advice = "make `python` the same everywhere: mca_base_env_list = PATH in "
        advice += OPEN_MPI_FILE
        findings.append(Finding("launch", "failed", by_host(shown), advice))
    findings.append(binding(facts, slots, trial))
    return findings


def _launch_advice(trial: Trial) -> str:
    for sign, advice in LAUNCH_ADVICE.items():
        if sign in trial.complaint:
            return advice
    return f"run it by hand: {trial.command} hostname"


def binding(facts: Facts, slots: Mapping[str, int], trial: Trial) -> Finding:
    """How many of its share of the host's cores mpirun leaves every process."""
    cores = {f"{host}": number for host, _, number in trial.ranks}
    shown = by_host(
        {host: f"{_counted(number, 'core')} a process" for host, number in cores.items()}
    )
    for host, number in cores.items():
        if host in facts and number < facts[host]["cores"][0] // slots.get(host, 1):
            setting = f"hwloc_base_binding_policy = none in {OPEN_MPI_FILE}"
            if open_mpi_major(facts[host]["mpirun"]) >= 5:
                setting = f"hwloc_default_binding_policy = none in {LAUNCHER_FILE}"
            found = f"{shown}, by mpirun; train.py takes its share of all cores itself"
            advice = f"preprocess.py does not: mpirun --bind-to none, or {setting}"
            return Finding("CPU binding", "ok", found, advice)
    return Finding("CPU binding", "ok", shown)


def _counted(number: int, noun: str, plural: str = "s") -> str:
    """A number with its noun: '1 core', '2 cores'."""
    return f"{number} {noun}{plural * (number != 1)}"


def open_mpi_major(version: str | None) -> int:
    """The major version in a line of `mpirun --version`; 4 if it has none."""
    match = re.search(r"Open MPI\) (\d+)", version or "")
    return int(match[1]) if match else 4
