"""Django admin for support staff: people and organizations to edit, keys to look at."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from accounts.models import ApiKey, Membership, Organization, User


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


@admin.register(Organization)
class OrganizationAdmin(admin.ModelAdmin[Organization]):
    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    inlines = [MembershipInline]


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
