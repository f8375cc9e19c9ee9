"""A stand-in for every video vendor: wire contracts, playable videos, faults and a bill."""
