"""Django admin for support staff: people and organizations to edit, keys to look at. Writes go through services, so
that the gateways hear of every change and who leaves loses the keys. Who ever had keys is deactivated, not deleted:
usage keeps their names."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone

from accounts import services
from accounts.models import ApiKey, Membership, Organization, User
from accounts.roles import Role


class MembershipInline(admin.TabularInline[Membership, Organization]):
    model = Membership
    extra = 0
    autocomplete_fields = ["user"]


@admin.register(User)
class UserAdmin(admin.ModelAdmin[User]):
    list_display = ["email", "name", "is_operator", "is_staff", "is_active"]
    search_fields = ["email", "name"]
    fields = ["email", "name", "is_operator", "is_staff", "is_active", "last_login", "created_at"]
    readonly_fields = ["last_login", "created_at"]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """A new person has no password yet."""
        if not change:
            obj.set_unusable_password()
        super().save_model(request, obj, form, change)
        services.account_changed(obj, timezone.now())  # noqa: TID251 - the edge


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin[Organization]):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [MembershipInline]

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Roles and members. A row whose person was exchanged is one who leaves and one who comes."""
        saved = formset.save(commit=False)
        before = {row.pk: row.user for row in Membership.objects.filter(pk__in=[one.pk for one in saved])}
        for membership in formset.deleted_objects:
            _leave(membership.organization, membership.user)
        for membership in saved:
            if (former := before.get(membership.pk)) and former != membership.user:
                _leave(membership.organization, former)
            services.set_role(organization=membership.organization, user=membership.user, role=Role(membership.role))


def _leave(organization: Organization, user: User) -> None:
    services.remove_member(organization=organization, user=user, now=timezone.now())  # noqa: TID251 - the edge


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin[ApiKey]):
    """Read-only: keys are made and revoked in the console."""

    list_display = ["name", "prefix", "organization", "user", "expires_at", "last_used_at", "revoked_at"]
    search_fields = ["name", "prefix", "user__email"]
    exclude = ["key_hash"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        return False
