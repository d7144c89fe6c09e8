"""Every address of the console."""

from allauth.account import views as accounts
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.urls import include, path, re_path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from console.components import theme
from console.views import (
    actions,
    deployment,
    deployments,
    edit,
    logs,
    new,
    revisions,
)

urlpatterns = [
    path("", require_safe(login_required(RedirectView.as_view(pattern_name="deployments"))), name="home"),
    path("admin/", admin.site.urls),
    path("api/v1/", include("console.api.urls")),
    path("theme/", theme.set_theme, name="theme"),
    path("catalog/", include("console.catalog.urls")),
    path("usage/", include("console.usage.urls")),
    path("settings/api-keys/", include("console.keys.urls")),
    path("deployments/", deployments.deployments, name="deployments"),
    path("deployments/new/", new.new, name="new-deployment"),
    path("deployments/new/name/", new.name, name="name-check"),
    path("deployments/new/asked/", new.asked, name="asked"),
    path("deployments/<uuid:deployment_id>/", deployment.deployment, name="deployment"),
    path("deployments/<uuid:deployment_id>/events/", deployment.events, name="events"),
    path("deployments/<uuid:deployment_id>/edit/", edit.edit, name="deployment_edit"),
    path("deployments/<uuid:deployment_id>/edit/preview/", edit.preview, name="edit-preview"),
    path("deployments/<uuid:deployment_id>/clone/", new.clone, name="deployment_clone"),
    path("deployments/<uuid:deployment_id>/settings/", revisions.settings, name="settings"),
    path("deployments/<uuid:deployment_id>/revisions/<int:number>/rollback/", revisions.rollback, name="rollback"),
    path("deployments/<uuid:deployment_id>/retry/", actions.retry, name="retry"),
    path("deployments/<uuid:deployment_id>/redeploy/", actions.redeploy, name="redeploy"),
    path("deployments/<uuid:deployment_id>/terminate/", actions.terminate, name="terminate"),
    path("deployments/<uuid:deployment_id>/delete/", actions.delete, name="delete"),
    path("deployments/<uuid:deployment_id>/playground/", include("console.playground.urls")),
    path("deployments/<uuid:deployment_id>/logs/", logs.logs, name="logs"),
    path("deployments/<uuid:deployment_id>/logs/lines.json", logs.download, name="log-lines"),
    path("deployments/<uuid:deployment_id>/logs/stream/", logs.stream, name="log-stream"),
    path("deployments/<uuid:deployment_id>/logs/<uuid:replica_id>/stream/", logs.stream, name="log-stream"),
]

# Of allauth only what the product offers: people come by invitation, so there is no sign-up and no e-mail page.
urlpatterns += [
    path("accounts/login/", accounts.login, name="account_login"),
    path("accounts/logout/", accounts.logout, name="account_logout"),
    path("accounts/inactive/", accounts.account_inactive, name="account_inactive"),
    path("accounts/signup/", accounts.signup, name="account_signup"),
    path("accounts/password/change/", accounts.password_change, name="account_change_password"),
    path("accounts/password/reset/", accounts.password_reset, name="account_reset_password"),
    path("accounts/password/reset/done/", accounts.password_reset_done, name="account_reset_password_done"),
    re_path(
        r"^accounts/password/reset/key/(?P<uidb36>[0-9A-Za-z]+)-(?P<key>.+)/$",
        accounts.password_reset_from_key,
        name="account_reset_password_from_key",
    ),
    path(
        "accounts/password/reset/key/done/",
        accounts.password_reset_from_key_done,
        name="account_reset_password_from_key_done",
    ),
]
