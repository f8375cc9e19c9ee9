"""The local stack: embedded servers, the processes, their health and their ports."""
