"""The catalog: the models that can be deployed, with a search."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.roles import Right
from console import access
from console.components.filters import FilterForm, SearchField
from console.components.page_request import PageRequest
from deployments.models import CatalogModel


class CatalogFilterForm(FilterForm):
    q = SearchField()


@require_safe
@login_required
def show_catalog(request: PageRequest) -> HttpResponse:
    q = CatalogFilterForm(request.GET).filters["q"]
    matches = Q(id__icontains=q) | Q(title__icontains=q) | Q(publisher__icontains=q) | Q(repository__icontains=q)
    context = {
        "models": CatalogModel.objects.filter(matches),
        "total": CatalogModel.objects.count(),
        "q": q,
        "may_deploy": access.may_somewhere(request.actor, Right.DEPLOY),
    }
    return render(request, "catalog/list.html", context)
