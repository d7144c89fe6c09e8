"""What the list shows: the parameters of its address, read leniently (what is unknown is left out), and the
addresses of its other views. Pure apart from building conditions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlencode

from django.db.models import Case, F, IntegerField, Q, TextField, Value, When
from django.db.models.expressions import OrderBy
from django.db.models.functions import Cast
from django.http import QueryDict

from deployments.states import DeploymentStatus as S

GROUPS: dict[str, tuple[str, tuple[S, ...]]] = {
    "": ("All", tuple(S)),
    "running": ("Running", (S.RUNNING,)),
    "changing": ("Changing", (S.DEPLOYING, S.SCALING, S.ROLLING)),
    "waiting": ("Waiting", (S.PENDING, S.SLEEPING)),
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
USUAL_SORT = "-created"
PER_PAGE = 50
_PART_OF_ID = re.compile(r"[0-9a-f-]{4,36}")
LONGEST_SEARCH = 200


@dataclass(frozen=True)
class Filters:
    """`group` is a key of GROUPS, `sort` a key of SORTS with `-` in front for descending, `page` counts from 1."""

    q: str = ""
    group: str = ""
    organization: str = ""
    gpu: str = ""
    endpoint: str = ""
    sort: str = USUAL_SORT
    page: int = 1

    @staticmethod
    def read(parameters: QueryDict) -> Filters:
        def text(name: str) -> str:
            return parameters.get(name, "").strip().replace("\x00", "")[:LONGEST_SEARCH]

        group, sort, page = text("status"), text("sort"), text("page")
        return Filters(
            q=text("q"),
            group=group if group in GROUPS else "",
            organization=text("organization"),
            gpu=text("gpu"),
            endpoint=text("endpoint"),
            sort=sort if sort.removeprefix("-") in SORTS else USUAL_SORT,
            page=int(page) if page.isdecimal() and 0 < int(page) < 100_000 else 1,
        )

    def address(self, **changes: str | int) -> str:
        """The query string of this view with some parameters changed; begins with `?`. Another view starts on its
        first page."""
        values = {"q": self.q, "status": self.group, "organization": self.organization, "gpu": self.gpu}
        values |= {"endpoint": self.endpoint, "sort": "" if self.sort == USUAL_SORT else self.sort}
        values |= {name: str(value) for name, value in changes.items()}
        return f"?{urlencode({name: value for name, value in values.items() if value})}"

    @property
    def narrows(self) -> bool:
        """Whether anything but the tab narrows the list."""
        return bool(self.q or self.organization or self.gpu or self.endpoint)

    @property
    def statuses(self) -> tuple[S, ...]:
        return GROUPS[self.group][1]

    @cached_property
    def condition(self) -> Q:
        """Everything but the tab."""
        condition = Q()
        if self.q:
            condition &= _matches(self.q)
        if self.organization:
            condition &= Q(organization__slug=self.organization)
        if self.gpu:
            condition &= Q(gpu_type_id=self.gpu)
        if self.endpoint:
            condition &= Q(endpoint__name=self.endpoint)
        return condition

    @property
    def order(self) -> list[OrderBy]:
        down = self.sort.startswith("-")
        columns = SORTS[self.sort.removeprefix("-")]
        ordered = [one.desc() if down else one.asc() for one in columns]
        return [*ordered, F("created_at").desc(), F("pk").desc()]


def _matches(q: str) -> Q:
    """Name, model, label (`key`, `value` or `key=value`) or the beginning of the ID."""
    found = Q(name__icontains=q)
    found |= Q(revision__spec__model__id__icontains=q) | Q(revision__spec__model__repository__icontains=q)
    key, equals, value = q.partition("=")
    found |= Q(labels__contains={key.strip(): value.strip()}) if equals else Q(label_text__icontains=q)
    return found | Q(id__startswith=q.lower()) if _PART_OF_ID.fullmatch(q.lower()) else found


LABEL_TEXT = Cast("labels", TextField())
