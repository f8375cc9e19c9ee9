"""Simulated fal."""
