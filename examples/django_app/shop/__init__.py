"""A Django app: a form orders a video, a webhook says that it is there, a page shows it."""
