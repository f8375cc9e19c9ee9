"""Longtake's own HTTP API: each route maps a request to a use case and renders the result."""
