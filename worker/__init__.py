"""What `celery -A worker` finds: signals, logging, graceful stop, and the embedded local stack."""
