"""The HTTP API: native routes, dialects, authentication and errors."""
