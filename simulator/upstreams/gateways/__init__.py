"""Simulated gateways."""
