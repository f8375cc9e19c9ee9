# Generated from longtake/_async/__init__.py by client/make_sync.py; change that, and run it.
"""The client for async code: the one that is written, and that `_sync` is generated from."""
