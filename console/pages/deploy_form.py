"""What the form of a deployment is rendered with, new or edited: its choices, and what they ask of the cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from console.access import Actor
from console.components.gpu_inventory import GpuInventory
from console.forms.deployment import DeploymentForm
from console.pages.asked import Asked
from deployments import choices, specs
from deployments.engines.registry import ENGINES
from deployments.models import CatalogModel, Deployment, Endpoint
from deployments.presets import PRESETS, Preset
from deployments.queries import spec_options
from deployments.states import HOLDS_GPU


@dataclass(frozen=True)
class PresetCard:
    """A preset with what it comes to for the maximum in the form."""

    preset: Preset
    low: int
    high: int
    is_chosen: bool

    @property
    def range(self) -> str:
        return f"{self.high} fixed" if self.preset.min_replicas is None else f"{self.low} to {self.high}"


def context(form: DeploymentForm, asked: Asked) -> dict[str, Any]:
    """For the page; the pieces that answer while it is filled in need `asked` alone."""
    return {
        "form": form,
        "asked": asked,
        "models": CatalogModel.objects.all(),
        "endpoints": Endpoint.objects.select_related("cluster").order_by("name"),
        "engines": [{"name": key, "title": one.title, "state": one.availability} for key, one in ENGINES.items()],
        "faults": specs.FAULTS,
        "presets": [
            PresetCard(one, *one.range_for(asked.range[1]), is_chosen=one.id == form.values["preset"])
            for one in PRESETS
        ],
        "floor_seconds": spec_options().delay_floor_seconds,
        "most_replicas": choices.MOST_REPLICAS,
    }


def asked_of(actor: Actor, form: DeploymentForm, edited: Deployment | None = None) -> Asked:
    model = CatalogModel.objects.filter(pk=form.values["model"]).first()
    endpoint = Endpoint.objects.filter(name=form.values["endpoint"]).select_related("cluster").first()
    held = sum(edited.replicas.filter(state__in=HOLDS_GPU).values_list("gpu_count", flat=True)) if edited else None
    return Asked(form.values, model, endpoint, GpuInventory(actor), held)
