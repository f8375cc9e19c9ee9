"""Outgoing webhooks: rendering, signing, sending and the retry schedule."""
