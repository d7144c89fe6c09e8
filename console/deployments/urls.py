"""Addresses of the pages of deployments."""

from django.urls import include, path

from console.deployments import actions, detail, events, form, logs, rollback, settings
from console.deployments import list as deployment_list

deployment_urlpatterns = [
    path("", detail.show_deployment, name="deployment"),
    path("events/", events.show_events, name="events"),
    path("edit/", form.edit, name="deployment_edit"),
    path("edit/preview/", form.preview_edit, name="edit-preview"),
    path("clone/", form.clone, name="deployment_clone"),
    path("settings/", settings.show_settings, name="settings"),
    path("revisions/<int:number>/rollback/", rollback.roll_back, name="rollback"),
    path("retry/", actions.retry, name="retry"),
    path("redeploy/", actions.redeploy, name="redeploy"),
    path("terminate/", actions.terminate, name="terminate"),
    path("delete/", actions.delete, name="delete"),
    path("replicas/<uuid:replica_id>/declare-gone/", actions.declare_gone, name="declare-gone"),
    path("logs/", logs.show_logs, name="logs"),
    path("logs/lines.json", logs.download_lines, name="log-lines"),
    path("logs/stream/", logs.stream_lines, name="log-stream"),
    path("logs/<uuid:replica_id>/stream/", logs.stream_lines, name="log-stream"),
]
urlpatterns = [
    path("", deployment_list.list_deployments, name="deployments"),
    path("new/", form.create, name="new-deployment"),
    path("new/name/", form.check_name, name="name-check"),
    path("new/capacity/", form.show_capacity, name="capacity"),
    path("<uuid:deployment_id>/", include(deployment_urlpatterns)),
]
