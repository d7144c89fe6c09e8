"""The filters, order and page of the deployments list: the form that reads them from an address, the condition that
they mean, and the addresses of other views."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlencode

from django import forms
from django.db.models import Case, F, IntegerField, Q, TextField, Value, When
from django.db.models.expressions import OrderBy
from django.db.models.functions import Cast

from console.components.filters import FilterForm, SearchField
from deployments.states import DeploymentStatus as S

# Title and statuses of each tab.
GROUPS: dict[str, tuple[str, tuple[S, ...]]] = {
    "": ("All", tuple(S)),
    "running": ("Running", (S.RUNNING,)),
    "changing": ("Changing", (S.DEPLOYING, S.SCALING, S.ROLLING)),
    "waiting": ("Waiting", (S.PENDING,)),
    "sleeping": ("Sleeping", (S.SLEEPING,)),
    "failed": ("Failed", (S.FAILED,)),
    "ended": ("Ended", (S.TERMINATING, S.TERMINATED)),
}
BY_URGENCY = (
    S.FAILED,
    S.PENDING,
    S.DEPLOYING,
    S.SCALING,
    S.ROLLING,
    S.RUNNING,
    S.SLEEPING,
    S.TERMINATING,
    S.TERMINATED,
)
URGENCY = Case(
    *(When(status=status, then=Value(place)) for place, status in enumerate(BY_URGENCY)),
    output_field=IntegerField(),
)
SORTS: dict[str, tuple[F | Case, ...]] = {
    "name": (F("name"),),
    "status": (URGENCY,),
    "replicas": (F("desired_replicas"),),
    "gpus": (F("gpu_type__memory_gb"), F("gpu_type_id"), F("revision__spec__gpu_count")),
    "created": (F("created_at"),),
}
DEFAULT_SORT = "-created"
ID_PREFIX = re.compile(r"[0-9a-f-]{4,36}")
# Labels as text, to search keys and values alike; `DeploymentFilters.condition` needs it as annotation `label_text`.
LABEL_TEXT = Cast("labels", TextField())


class DeploymentFilterForm(FilterForm):
    """`status` is a key of GROUPS, `sort` a key of SORTS with `-` in front for descending."""

    q = SearchField()
    status = forms.ChoiceField(choices=[(key, title) for key, (title, _) in GROUPS.items()], required=False, initial="")
    organization = SearchField()
    gpu = SearchField()
    endpoint = SearchField()
    sort = forms.ChoiceField(
        choices=[(f"{sign}{key}", key) for key in SORTS for sign in ("", "-")], required=False, initial=DEFAULT_SORT
    )
    page = forms.IntegerField(min_value=1, max_value=99_999, required=False, initial=1)


@dataclass(frozen=True)
class DeploymentFilters:
    """The values of a DeploymentFilterForm; `page` counts from 1."""

    q: str = ""
    status: str = ""
    organization: str = ""
    gpu: str = ""
    endpoint: str = ""
    sort: str = DEFAULT_SORT
    page: int = 1

    def address(self, **changes: str | int) -> str:
        """The query string of this view with some parameters changed; begins with `?`. Another view starts on its
        first page."""
        values = {"q": self.q, "status": self.status, "organization": self.organization, "gpu": self.gpu}
        values |= {"endpoint": self.endpoint, "sort": "" if self.sort == DEFAULT_SORT else self.sort}
        values |= {name: str(value) for name, value in changes.items()}
        return f"?{urlencode({name: value for name, value in values.items() if value})}"

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the tab narrows the list."""
        return bool(self.q or self.organization or self.gpu or self.endpoint)

    @property
    def statuses(self) -> tuple[S, ...]:
        return GROUPS[self.status][1]

    @property
    def condition(self) -> Q:
        """Everything but the tab. `q` matches name, model, label (`key`, `value` or `key=value`) or the beginning of
        the ID."""
        condition = Q()
        if self.organization:
            condition &= Q(organization__slug=self.organization)
        if self.gpu:
            condition &= Q(gpu_type_id=self.gpu)
        if self.endpoint:
            condition &= Q(endpoint__name=self.endpoint)
        if self.q:
            key, equals, value = self.q.partition("=")
            matches = Q(name__icontains=self.q)
            matches |= Q(revision__spec__model__id__icontains=self.q)
            matches |= Q(revision__spec__model__repository__icontains=self.q)
            matches |= Q(labels__contains={key.strip(): value.strip()}) if equals else Q(label_text__icontains=self.q)
            if ID_PREFIX.fullmatch(self.q.lower()):
                matches |= Q(id__startswith=self.q.lower())
            condition &= matches
        return condition

    @property
    def order(self) -> list[OrderBy]:
        is_descending = self.sort.startswith("-")
        columns = SORTS[self.sort.removeprefix("-")]
        ordered = [column.desc() if is_descending else column.asc() for column in columns]
        return [*ordered, F("created_at").desc(), F("pk").desc()]
