"""What is true: rows, states, the due table and money; no HTTP, no Celery."""
