"""Numbers for operators: gauges read from the database, in Prometheus' text format."""
