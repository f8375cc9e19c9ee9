"""The local stack: embedded servers, the processes, health checks and ports."""
