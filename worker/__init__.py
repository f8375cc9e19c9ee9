"""The Celery entry points: `python -m worker`, and `celery -A worker` for workers."""
