"""Watching: a process keeps running operations in memory until they end, and writes only news."""
