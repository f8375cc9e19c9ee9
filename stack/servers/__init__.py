"""Embedded PostgreSQL and Valkey, from wheels, for machines without servers."""
