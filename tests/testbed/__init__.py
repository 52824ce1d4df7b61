"""Hosts on one machine, as network namespaces: `python tests/testbed/testbed.py up`."""
