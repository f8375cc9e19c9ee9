"""Housekeeping: retention, key rotation, and what an operator settles by hand."""
