"""Simulated Google video APIs."""
