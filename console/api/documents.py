"""The OpenAPI document and the page that people read."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.api import openapi as document
from console.api import reference
from deployments.queries import spec_options


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    return JsonResponse(document.document(spec_options(), _server(request)))


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    found = reference.reference(document.document(spec_options(), _server(request)))
    return render(request, "api/docs.html", {"reference": found})


def _server(request: HttpRequest) -> str:
    return request.build_absolute_uri("/api/v1")
