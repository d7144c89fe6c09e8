"""Usage: requests and tokens by deployment or key, as a page and as CSV."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from console.components.page_request import PageRequest
from console.forms.usage import GROUPS, PERIODS, UsageForm, read_address
from console.pages.reports import Report, as_csv


@require_safe
@login_required
def usage(request: PageRequest) -> HttpResponse:
    form = UsageForm(request.GET)
    report = _report(request, form)
    context = {
        "form": form,
        "report": report,
        "period": form.cleaned_data.get("period", "custom"),
        "periods": PERIODS,
        "groups": GROUPS,
    }
    return render(request, "usage/usage.html", context)


@require_safe
@login_required
def download(request: PageRequest, period: str, group_by: str) -> HttpResponse:
    form = UsageForm(read_address(period, group_by))
    if not form.is_valid():
        raise Http404("No such period or group.")
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"'}
    return HttpResponse(as_csv(_report(request, form)), content_type="text/csv; charset=utf-8", headers=headers)


def _report(request: PageRequest, form: UsageForm) -> Report:
    period = form.span(timezone.now())  # noqa: TID251 - the edge: usage up to now
    return Report(request.actor, period, form.cleaned_data.get("group_by", "deployment"))
