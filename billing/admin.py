"""Django admin for support staff: hourly usage, read-only."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest

from billing.models import UsageHour


@admin.register(UsageHour)
class UsageHourAdmin(admin.ModelAdmin[UsageHour]):
    list_display = ["hour", "organization_id", "deployment_id", "requests", "input_tokens", "output_tokens"]
    date_hierarchy = "hour"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: UsageHour | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: UsageHour | None = None) -> bool:
        return False
