"""Django admin for support staff: users and organizations are editable, API keys read-only.

Writes go through `accounts.services`, which revokes keys and publishes them to the gateways. Users with keys can only
be deactivated, not deleted (keys have no delete permission and would be deleted too), so usage keeps their names.
"""

from __future__ import annotations

from typing import Any

from allauth.usersessions.admin import UserSession
from django.contrib import admin
from django.contrib.auth import admin as auth_admin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.http import HttpRequest
from django.utils import timezone

from accounts import services
from accounts.models import ApiKey, Membership, Organization, User
from accounts.roles import Role

# Deleting a row of it would not end the session, and its search fields do not exist here.
admin.site.unregister(UserSession)


class MembershipInline(admin.TabularInline[Membership, Organization]):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


class LowercaseEmail:
    """Stores e-mail addresses in lowercase, as they are looked up at sign-in."""

    cleaned_data: dict[str, Any]

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()


class UserAddForm(LowercaseEmail, AdminUserCreationForm[User]):
    pass


class UserEditForm(LowercaseEmail, UserChangeForm[User]):
    pass


@admin.register(User)
class UserAdmin(auth_admin.UserAdmin[User]):
    """Adds users with a password or without one, and changes passwords."""

    add_form = UserAddForm
    form = UserEditForm
    list_display = ["email", "name", "is_operator", "is_staff", "is_active"]
    list_filter = ["is_operator", "is_staff", "is_active"]
    search_fields = ["email", "name"]
    ordering = ["email"]
    filter_horizontal = []
    fieldsets = [
        (None, {"fields": ["email", "name", "password"]}),
        ("Access", {"fields": ["is_operator", "is_staff", "is_active"]}),
        ("Dates", {"fields": ["last_login", "created_at"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["email", "name"]}),
        (
            "Password",
            {
                "description": "Without a password, the user chooses one with “Forgot password?” on the sign-in page.",
                "fields": ["usable_password", "password1", "password2"],
            },
        ),
        ("Access", {"fields": ["is_operator", "is_staff", "is_active"]}),
    ]
    readonly_fields = ["last_login", "created_at"]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        services.apply_account_change(obj, timezone.now())  # noqa: TID251 - the edge


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin[Organization]):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    readonly_fields = ["limits"]  # the API checks and publishes them
    inlines = [MembershipInline]

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Apply membership changes. A row whose user was replaced removes one member and adds another."""
        saved = formset.save(commit=False)
        stored = Membership.objects.filter(pk__in=[membership.pk for membership in saved])
        previous_users = {membership.pk: membership.user for membership in stored}
        for membership in formset.deleted_objects:
            _remove_member(membership.organization, membership.user)
        for membership in saved:
            if (previous := previous_users.get(membership.pk)) and previous != membership.user:
                _remove_member(membership.organization, previous)
            services.set_role(organization=membership.organization, user=membership.user, role=Role(membership.role))


def _remove_member(organization: Organization, user: User) -> None:
    services.remove_member(organization=organization, user=user, now=timezone.now())  # noqa: TID251 - the edge


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Read-only: keys are created and revoked in the console."""

    list_display = ["name", "prefix", "organization", "user", "expires_at", "last_used_at", "revoked_at"]
    search_fields = ["name", "prefix", "user__email"]
    exclude = ["key_hash"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False
