"""Kling's two API generations."""
