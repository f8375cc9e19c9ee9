"""The outcomes of attempts and jobs, and the one place that records each."""
