"""Every address of the console."""

from django.contrib import admin
from django.urls import include, path

from console.views import deployment, logs, playground

urlpatterns = [
    path("deployments/<uuid:deployment_id>/", deployment.deployment, name="deployment"),
    path("deployments/<uuid:deployment_id>/terminate/", deployment.terminate, name="terminate"),
    path("deployments/<uuid:deployment_id>/delete/", deployment.delete, name="delete"),
    path("deployments/<uuid:deployment_id>/playground/", playground.playground, name="playground"),
    path("deployments/<uuid:deployment_id>/playground/", playground.playground, name="playground"),
    path("deployments/<uuid:deployment_id>/logs/", logs.logs, name="logs"),
    path("deployments/<uuid:deployment_id>/logs/<uuid:replica_id>/stream/", logs.log_stream, name="log-stream"),
    path("deployments/<uuid:deployment_id>/logs/<uuid:replica_id>/stream/", logs.log_stream, name="log-stream"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("console.api.urls")),
    path("", include("allauth.urls")),
]
