"""How bytes leave: the HTTP clients, the outbound guard, timeouts, size caps and redaction."""
