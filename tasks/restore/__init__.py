"""Detects a restored database, parks attempts that may have been paid for, and resolves them."""
