"""The HTTP front door: native routes, dialects, authentication and errors."""
