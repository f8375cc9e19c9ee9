"""PostgreSQL and Valkey from wheels: the servers of a machine that was given none."""
