"""Simulated Kling: both API generations."""
