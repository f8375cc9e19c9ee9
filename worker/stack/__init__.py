"""The local stack: the servers and every process of ours, started in order, watched and stopped."""
