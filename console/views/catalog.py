"""The catalog: what can be deployed."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.roles import Right
from console import access
from console.components.page_request import PageRequest
from deployments.models import CatalogModel


@require_safe
@login_required
def catalog(request: PageRequest) -> HttpResponse:
    q = request.GET.get("q", "").strip().replace("\x00", "")[:200]
    found = Q(id__icontains=q) | Q(title__icontains=q) | Q(publisher__icontains=q) | Q(repository__icontains=q)
    context = {
        "models": CatalogModel.objects.filter(found),
        "total": CatalogModel.objects.count(),
        "q": q,
        "may_deploy": access.may_somewhere(request.actor, Right.DEPLOY),
    }
    return render(request, "catalog/catalog.html", context)
