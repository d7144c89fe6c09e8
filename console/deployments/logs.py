"""The logs of a deployment's replicas: the last lines as a page, new lines as a stream that the page's script reads,
and the lines as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from asgiref.sync import sync_to_async
from django import forms
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from accounts.models import User
from console import access
from console.access import Actor
from console.components.page_request import PageRequest
from console.deployments.page_context import page_context, read_state
from console.streaming import log_stream, sse
from console.streaming.log_stream import Subject, Tail
from deployments.events import short_id
from deployments.logs.line_query import DEFAULT_TAIL, MAX_LINES, Line, LogQuery, split_matches
from deployments.states import AT_REST, ENDED

FRAGMENTS = ("header",)
PERIODS = {"all": "All", "5m": "Last 5 min", "1h": "Last hour", "custom": "Custom"}
SPANS = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}
TIME_ERRORS = {"invalid": "Enter a date and time, such as 2026-01-31 14:00."}
MAX_STREAMED = 3000


class LogSearchForm(forms.Form):
    """Read from the address; without parameters the last lines of all replicas. `since` and `until` are times of
    `zone`, a name such as Europe/Berlin, which the page's script fills in; UTC without it."""

    replica = forms.CharField(required=False, max_length=36)
    q = forms.CharField(required=False, max_length=200, strip=False)
    period = forms.ChoiceField(choices=list(PERIODS.items()), required=False)
    since = forms.DateTimeField(required=False, error_messages=TIME_ERRORS)
    until = forms.DateTimeField(required=False, error_messages=TIME_ERRORS)
    zone = forms.CharField(required=False)

    def full_clean(self) -> None:
        with timezone.override(self.time_zone):
            super().full_clean()

    @property
    def time_zone(self) -> ZoneInfo:
        """UTC for a zone that does not exist; the page says which one it reads."""
        try:
            return ZoneInfo(self.data.get("zone") or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError):  # not only names of zones, but those of folders too
            return ZoneInfo("UTC")

    def clean_period(self) -> str:
        if self.cleaned_data["period"]:
            return str(self.cleaned_data["period"])
        return "custom" if self.data.get("since") or self.data.get("until") else "all"

    def clean(self) -> None:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if self.chosen_period == "custom" and since and until and until <= since:
            self.add_error("until", "The end is not after the start.")

    @property
    def chosen_period(self) -> str:
        return str(self.cleaned_data.get("period", "custom"))

    def selection(self, now: datetime, tail: int = DEFAULT_TAIL) -> LogQuery:
        """The lines that a valid form asks for, as of `now`."""
        since, until = self.cleaned_data["since"], self.cleaned_data["until"]
        if self.chosen_period != "custom":
            since, until = (now - SPANS[self.chosen_period] if self.chosen_period in SPANS else None), None
        return LogQuery(tail, since, until, self.cleaned_data["q"])


@dataclass(frozen=True)
class LogLine:
    """`parts` are the pieces of the text, each with whether it matches the search; `at` is ISO 8601, empty for no
    time."""

    at: str
    time: str
    replica: str
    parts: list[tuple[str, bool]]


def make_log_lines(lines: Iterable[Line], search: str, now: datetime) -> list[LogLine]:
    """Times of other days than today have their day."""
    made = []
    for line in lines:
        at = line.at.astimezone(UTC) if line.at else None
        day = f"{at.day} {at:%b} " if at and at.date() != now.date() else ""
        parts = list(split_matches(line.text, search))
        time, iso = (f"{day}{at:%H:%M:%S}", at.isoformat(timespec="milliseconds")) if at else ("", "")
        made.append(LogLine(iso, time, short_id(line.replica_id), parts))
    return made


@require_safe
@login_required
def show_logs(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """`?replica=` chooses one; `q`, `period`, `since` and `until` choose lines."""
    now = timezone.now()  # noqa: TID251 - the edge: a page as of now
    subject = _find_subject(request.actor, deployment_id, request.GET.get("replica", ""))
    form = LogSearchForm(request.GET)
    tail = log_stream.read(subject, form.selection(now)) if form.is_valid() else Tail()
    state = read_state(subject.deployment, now)
    rows = [*state.live, *state.ended]
    if subject.replica:
        is_over = subject.replica.state in ENDED
    else:
        is_over = not state.live and subject.deployment.status in AT_REST
    context = {
        **page_context(request.actor, state),
        "rows": rows,
        "chosen": next((row for row in rows if row.replica == subject.replica), None),
        "form": form,
        "periods": PERIODS,
        "follows": form.is_valid() and form.selection(now).until is None and not is_over,
        "lines": make_log_lines(tail.lines, form.cleaned_data.get("q", ""), now),
        "trouble": tail.trouble,
    }
    return render(request, "deployments/logs.html", context)


@require_safe
@login_required
def download_lines(request: PageRequest, deployment_id: UUID) -> HttpResponse:
    """The lines that the page shows, up to the most that can be read at once; each as in the REST API."""
    now = timezone.now()  # noqa: TID251 - the edge: lines up to now
    subject = _find_subject(request.actor, deployment_id, request.GET.get("replica", ""))
    form = LogSearchForm(request.GET)
    if not form.is_valid():
        raise Http404("No such lines.")
    tail = log_stream.read(subject, form.selection(now, MAX_LINES))
    if tail.trouble:
        return HttpResponse(tail.trouble, status=503, content_type="text/plain; charset=utf-8")
    data = [{"at": _format_rfc3339(line.at), "replica": str(line.replica_id), "text": line.text} for line in tail.lines]
    headers = {"Content-Disposition": f'attachment; filename="{subject.deployment.name}-log.json"'}
    return JsonResponse({"data": data}, headers=headers)


@require_safe
@login_required
async def stream_lines(request: HttpRequest, deployment_id: UUID, replica_id: UUID | None = None) -> HttpResponseBase:
    """Server-sent events: `lines` with a list of new lines, `trouble` with words, `ended` at the end."""
    user: User = await request.auser()  # type: ignore[assignment]
    reference = str(replica_id or "")
    await sync_to_async(lambda: _find_subject(access.actor_of(user), deployment_id, reference))()
    form, now = LogSearchForm(request.GET), timezone.now()  # noqa: TID251 - the edge: lines as of now
    if not form.is_valid():
        raise Http404("No such lines.")
    events = _stream_events(request.session.session_key, deployment_id, reference, form.selection(now))
    return StreamingHttpResponse(events, content_type=sse.CONTENT_TYPE, headers=sse.HEADERS)


async def _stream_events(
    session_key: str | None, deployment_id: UUID, reference: str, selection: LogQuery
) -> AsyncIterator[bytes]:
    """The last lines, then new ones, until the log has ended or the session may not see it any more."""

    def find_allowed() -> Subject | None:
        actor = access.actor_of_session(session_key)
        try:
            return _find_subject(actor, deployment_id, reference) if actor else None
        except Http404:
            return None

    is_first = True
    async for tail in log_stream.follow(find_allowed, selection):
        if tail.trouble:
            yield sse.event({"words": tail.trouble}, "trouble")
        elif tail.lines or is_first:
            now = timezone.now()  # noqa: TID251 - the edge: lines as of now
            lines = [asdict(line) for line in make_log_lines(tail.lines[-MAX_STREAMED:], selection.text, now)]
            yield sse.event({"lines": lines, "anew": is_first}, "lines")
            is_first = False
        else:
            yield sse.HEARTBEAT
    yield sse.event({}, "ended")


def _find_subject(actor: Actor, deployment_id: UUID, reference: str) -> Subject:
    deployment = access.deployment(actor, str(deployment_id))
    return Subject(deployment, access.replica(actor, deployment, reference) if reference else None)


def _format_rfc3339(at: datetime | None) -> str | None:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if at else None
