"""The Celery entry point (`celery -A worker`): the app, its signals and beat's scheduler."""
