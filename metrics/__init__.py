"""Numbers for operators, in Prometheus' text format: gauges of the database, counts of work."""
