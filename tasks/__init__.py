"""What happens to a job, and when it is tried again."""
