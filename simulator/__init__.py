"""A simulator of every video vendor: wire formats, playable videos, faults and a bill."""
