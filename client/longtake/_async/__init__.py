"""The client for async code: the one that is written, and that `_sync` is generated from."""
