"""Every address of the console."""

from allauth.account import views as accounts
from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.templatetags.static import static
from django.urls import include, path, re_path
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView

from console.admin_sign_in import sign_in_to_admin
from console.components import theme
from console.profile import password_reset

urlpatterns = [
    path("", require_safe(login_required(RedirectView.as_view(pattern_name="deployments"))), name="home"),
    path("favicon.ico", require_safe(RedirectView.as_view(url=static("favicon.ico"), permanent=True))),
    path("admin/login/", sign_in_to_admin),
    path("admin/", admin.site.urls),
    path("api/v1/", include("console.api.urls")),
    path("theme/", theme.set_theme, name="theme"),
    path("catalog/", include("console.catalog.urls")),
    path("usage/", include("console.usage.urls")),
    path("settings/api-keys/", include("console.keys.urls")),
    path("settings/profile/", include("console.profile.urls")),
    path("deployments/", include("console.deployments.urls")),
    path("deployments/<uuid:deployment_id>/playground/", include("console.playground.urls")),
]

# Of allauth only what the product offers: people come by invitation, so there is no sign-up and no e-mail page.
urlpatterns += [
    path("accounts/login/", accounts.login, name="account_login"),
    path("accounts/logout/", accounts.logout, name="account_logout"),
    path("accounts/inactive/", accounts.account_inactive, name="account_inactive"),
    path("accounts/signup/", accounts.signup, name="account_signup"),
    path("accounts/password/change/", accounts.password_change, name="account_change_password"),
    path("accounts/password/reset/", password_reset.reset_password, name="account_reset_password"),
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
