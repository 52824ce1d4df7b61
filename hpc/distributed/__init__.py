"""Several processes as one run: launcher, rendezvous, watchdog, collectives."""
