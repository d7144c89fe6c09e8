"""Every address under /api/v1: the operations, their document, and the readable page of it."""

from __future__ import annotations

from django.urls import path

from console.api import documents
from console.api.resources import urls
from console.api.routes import OPERATIONS

app_name = "api"
urlpatterns = [
    *urls(OPERATIONS),
    path("openapi.json", documents.openapi, name="openapi"),
    path("docs", documents.docs, name="docs"),
]
