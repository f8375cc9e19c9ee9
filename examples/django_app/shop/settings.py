"""The project's settings, with what it needs of Longtake at the end."""

import os
from pathlib import Path

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for an example")
DEBUG = True  # `runserver` shows what is wrong
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "shop.urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["shop"]
MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", Path(__file__).parents[1] / "shop.sqlite3"),
    }
}

LONGTAKE = {
    "BASE_URL": os.environ["LONGTAKE_API_URL"],
    "API_KEY": os.environ["LONGTAKE_API_KEY"],
    "WEBHOOK_URL": os.environ["PUBLIC_URL"] + "/webhook",
    "WEBHOOK_SECRET": os.environ["WEBHOOK_SECRET"],
}
TASKS = {
    "default": {
        "BACKEND": "longtake.django.LongtakeBackend",
        "OPTIONS": {"BROKER_URL": os.environ["LONGTAKE_BROKER_URL"]},
    }
}
