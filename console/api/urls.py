"""Every address under /api/v1: the operations, their document, and the readable page of it."""

from django.urls import URLPattern, path

from console.api import reference_page
from console.api.application import api
from console.api.strict_router import answer_head_and_options

app_name = "api"
urlpatterns = [
    *(
        path(str(route.pattern), answer_head_and_options(route.callback), name=route.name)
        for route in api.urls[0]
        if isinstance(route, URLPattern) and route.name != "api-root"
    ),
    path("openapi.json", reference_page.document, name="openapi"),
    path("docs", reference_page.page, name="docs"),
]
