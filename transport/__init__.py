"""Outbound HTTP: the clients, the outbound guard, timeouts, size caps and redaction."""
