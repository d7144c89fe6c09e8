from django.apps import AppConfig

from console.celery import app as celery_app


class ConsoleConfig(AppConfig):
    """Every process that loads Django has the Celery application, so that messages sent from it reach the workers."""

    name = "console"
    celery_app = celery_app
