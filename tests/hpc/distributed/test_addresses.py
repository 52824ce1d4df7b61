"""The address of rank 0, and the secret of a run."""

from __future__ import annotations

import subprocess

import pytest

from hpc.distributed import addresses
from hpc.distributed.addresses import agreed_port, chief_address, listening_address
from hpc.distributed.launcher import Place, find_place
from tests.hpc.distributed.test_launcher import SLURM_STEP


def test_srun_without_the_secret_is_refused_with_the_line_that_makes_one() -> None:
    environ = {**SLURM_STEP, "SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}
    with pytest.raises(ValueError, match=r"export CHORALE_SECRET=\$\(openssl rand -hex 32\)"):
        chief_address(find_place(environ), 0, environ)


def test_srun_carries_the_secret_in_the_environment() -> None:
    environ = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "CHORALE_SECRET": "a" * 64}
    on_one_host = Place(1, 2, 1, 2, launcher="srun")
    endpoints, secret = chief_address(on_one_host, 0, environ)
    assert endpoints == [("127.0.0.1", agreed_port(environ))]
    assert secret == b"a" * 64


def test_rank_0_listens_where_only_its_own_ranks_come(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"lo": ["127.0.0.1"], "eth0": ["10.0.0.1"], "eth1": ["192.168.1.1", "10.0.0.2"]}
    monkeypatch.setattr(addresses, "_interfaces", lambda: found)
    here, apart = Place(0, 2, 0, 2), Place(0, 2, 0, 1)
    assert listening_address(here, {}) == "127.0.0.1"
    for network, address in {
        "": "0.0.0.0",
        "eth0": "10.0.0.1",
        "192.168.1.0/24": "192.168.1.1",
        "10.0.0.0/24": "0.0.0.0",  # two addresses here: which one the others reach is not known
        "ib0": "0.0.0.0",
    }.items():
        environ = {"OMPI_MCA_btl_tcp_if_include": network}
        assert listening_address(apart, environ) == address


def test_under_srun_mpis_network_does_not_make_every_rank_take_itself_for_rank_0(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import psutil

    found = [address for family in psutil.net_if_addrs().values() for address in family]
    own = next(a.address for a in found if a.family == 2)
    environ = {**SLURM_STEP, "OMPI_MCA_btl_tcp_if_include": f"{own}/32", "SLURM_JOB_ID": "7"}
    environ |= {"SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "dorchester,bath"}
    environ |= {"CHORALE_SECRET": "0123456789abcdef"}
    names = subprocess.CompletedProcess([], 0, "dorchester\nbath\n", "")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: names)
    place = find_place(environ)
    assert listening_address(place, environ) == "0.0.0.0"
    assert chief_address(place, 0, environ)[0] == [("dorchester", agreed_port(environ))]
