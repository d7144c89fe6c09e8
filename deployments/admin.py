"""Django admin for support staff: reference data is editable, what services and reconciler write is read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from deployments.models import (
    CatalogModel,
    Cluster,
    ClusterGpu,
    Deployment,
    DeploymentEvent,
    Endpoint,
    GpuType,
    Replica,
    ReplicaPhase,
)


class ReadOnly:
    """These rows have one writer, which is not the admin."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ClusterGpuInline(admin.TabularInline[ClusterGpu, Cluster]):
    model = ClusterGpu
    extra = 0


class ReplicaPhaseInline(ReadOnly, admin.TabularInline[ReplicaPhase, Replica]):
    model = ReplicaPhase
    fields = ["name", "started_at", "ended_at"]


@admin.register(GpuType)
class GpuTypeAdmin(admin.ModelAdmin[GpuType]):
    list_display = ["id", "title", "vendor", "memory_gb", "memory_gib"]


@admin.register(Cluster)
class ClusterAdmin(admin.ModelAdmin[Cluster]):
    list_display = ["name", "driver", "simulated", "observed_at"]
    readonly_fields = ["observed_at", "created_at"]
    inlines = [ClusterGpuInline]


@admin.register(Endpoint)
class EndpointAdmin(admin.ModelAdmin[Endpoint]):
    list_display = ["name", "base_url", "visibility", "cluster"]


@admin.register(CatalogModel)
class CatalogModelAdmin(admin.ModelAdmin[CatalogModel]):
    list_display = ["id", "title", "family", "publisher", "context_length", "gated", "sourced_at"]
    search_fields = ["id", "title", "repository"]
    list_filter = ["family"]


@admin.register(Deployment)
class DeploymentAdmin(ReadOnly, admin.ModelAdmin[Deployment]):
    list_display = ["name", "organization", "status", "phase", "gpu_type", "desired_replicas", "work__next_due_at"]
    list_select_related = ["organization", "gpu_type", "work"]
    list_filter = ["status", "gpu_type"]
    search_fields = ["name", "id", "organization__slug"]
    date_hierarchy = "created_at"


@admin.register(Replica)
class ReplicaAdmin(ReadOnly, admin.ModelAdmin[Replica]):
    list_display = ["name", "deployment", "state", "serving", "gpu_count", "gpu_type", "node", "created_at"]
    list_select_related = ["deployment", "gpu_type"]
    list_filter = ["state", "gpu_type"]
    search_fields = ["name", "id", "deployment__name"]
    inlines = [ReplicaPhaseInline]


@admin.register(DeploymentEvent)
class DeploymentEventAdmin(ReadOnly, admin.ModelAdmin[DeploymentEvent]):
    list_display = ["at", "deployment", "kind", "actor", "summary"]
    list_select_related = ["deployment"]
    list_filter = ["kind"]
    search_fields = ["deployment__name"]
