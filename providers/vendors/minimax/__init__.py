"""MiniMax's two API versions."""
