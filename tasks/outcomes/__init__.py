"""What came of an attempt or a job, and the one place that records each outcome."""
