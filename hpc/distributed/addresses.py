"""The address of rank 0: on which it waits, how the others learn it, and all those of this host."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
from collections.abc import Mapping

from hpc.distributed.connection import Endpoint
from hpc.distributed.hosts import LOCAL, nodes_of
from hpc.distributed.launcher import Place

SECRET = "CHORALE_SECRET"
MPI_NETWORK = "OMPI_MCA_btl_tcp_if_include"


def listening_address(place: Place, environ: Mapping[str, str]) -> str:
    """The address on which rank 0 waits for the others; 0.0.0.0, all interfaces, in most runs.

    Which interface the other hosts reach is known only where all ranks are on one host, and where
    MPI was given a network that has one address here. Under srun the others do not ask rank 0 for
    its address, but look its node's name up.
    """
    if place.size == place.local_size:
        return "127.0.0.1"
    if place.launcher == "srun":
        return "0.0.0.0"
    given = [a for part in environ.get(MPI_NETWORK, "").split(",") for a in _addresses_of(part)]
    return given[0] if len(given) == 1 else "0.0.0.0"


def chief_address(
    place: Place, port: int, environ: Mapping[str, str]
) -> tuple[list[Endpoint], bytes]:
    """Rank 0's addresses with its port, the best ones first, and the run's secret.

    `port` is the one that rank 0 opened. Under MPI rank 0 makes the secret, and broadcasts both;
    under srun all ranks compute the port (see `agreed_port`) and read the secret from the
    environment, which srun copies to all tasks of the user. Raises ValueError if it is not there,
    or if the MPI library and the launcher belong to different installations.
    """
    if place.launcher == "srun":
        return _chief_of_step(place, environ)
    return _chief_by_mpi(place, port, environ)


def _chief_of_step(place: Place, environ: Mapping[str, str]) -> tuple[list[Endpoint], bytes]:
    """`chief_address` under srun: rank 0 is on the first node of the step."""
    secret = environ.get(SECRET, "")
    if len(secret) < 16:
        raise ValueError(
            f"srun started {place.size} processes, and {SECRET} is not set, by which they "
            f"know each other. Before srun: export {SECRET}=$(openssl rand -hex 32)"
        )
    chief = listening_address(place, environ)
    if chief == "0.0.0.0":
        chief = nodes_of(environ["SLURM_STEP_NODELIST"])[0]
    return [(chief, agreed_port(environ))], secret.encode()


def _chief_by_mpi(
    place: Place, port: int, environ: Mapping[str, str]
) -> tuple[list[Endpoint], bytes]:
    """`chief_address` under MPI, which starts here."""
    # MPI's waiting loops then give way to other threads, and do not spin on the cores that compute.
    os.environ.setdefault("OMPI_MCA_mpi_yield_when_idle", "1")
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"started by {place.launcher} with {place.size} processes, but mpi4py cannot be used "
            f"({error}). Install it: pip install -c constraints.txt -e '.[horovod]'"
        ) from None
    world = MPI.COMM_WORLD
    if world.Get_size() != place.size:
        raise ValueError(
            f"{place.launcher} started {place.size} processes, but the MPI library "
            f"({MPI.Get_library_version().split(',')[0]}) sees {world.Get_size()}: mpirun and the "
            "library are of different MPI installations. Run make horovod with this mpirun on PATH"
        )
    address = listening_address(place, environ)
    addresses = own_addresses() if address == "0.0.0.0" else [address]
    return world.bcast(([(a, port) for a in addresses], secrets.token_bytes(32)))


def agreed_port(environ: Mapping[str, str]) -> int:
    """A port that is the same on all ranks of a Slurm step, and different in most other steps.

    It is below 32768, where the ports begin that Linux assigns.
    """
    job, step = int(environ["SLURM_JOB_ID"]), int(environ["SLURM_STEP_ID"])
    return 20000 + (job * 31 + step) % 12000


def is_here(host: str) -> bool:
    """Is this the name or an address of this host?"""
    if host in (LOCAL, socket.gethostname()):
        return True
    try:
        return socket.gethostbyname(host) in own_addresses()
    except OSError:
        return False


def own_addresses() -> list[str]:
    """IPv4 addresses of the interfaces that are up; loopback, which serves one host only, last."""
    addresses = [address for found in _interfaces().values() for address in found]
    return sorted(set(addresses), key=lambda address: (address.startswith("127."), address))


def _addresses_of(network: str) -> list[str]:
    """This host's addresses on an interface (eth0) or in a subnet (10.0.0.0/24)."""
    interfaces = _interfaces()
    if network in interfaces:
        return interfaces[network]
    try:
        subnet = ipaddress.ip_network(network, strict=False)
    except ValueError:
        return []
    return [address for address in own_addresses() if ipaddress.ip_address(address) in subnet]


def _interfaces() -> dict[str, list[str]]:
    """The IPv4 addresses of every interface that is up, by its name."""
    import psutil

    up = {name for name, state in psutil.net_if_stats().items() if state.isup}
    return {
        name: [address.address for address in family if address.family == socket.AF_INET]
        for name, family in psutil.net_if_addrs().items()
        if name in up
    }
