"""What `celery -A worker` finds: the app, its signals, beat's scheduler."""
