"""The `longtake` command."""
