"""Simulated MiniMax: both API versions."""
