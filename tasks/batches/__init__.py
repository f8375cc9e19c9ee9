"""Batches: many requests submitted together, from intake to results."""
