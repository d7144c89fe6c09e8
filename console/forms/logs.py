"""Which log lines to show: of which replica, of which time in UTC, with which text."""

from __future__ import annotations

from datetime import datetime, timedelta

from django import forms

from deployments.logs.search import DEFAULT_TAIL, LogQuery

PERIODS = {"all": "All", "5m": "Last 5 min", "1h": "Last 1 h", "custom": "Custom"}
SPANS = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}


class LogForm(forms.Form):
    """Read from the address; without parameters the last lines of all replicas."""

    replica = forms.CharField(required=False, max_length=36)
    q = forms.CharField(required=False, max_length=200, strip=False)
    period = forms.ChoiceField(choices=list(PERIODS.items()), required=False)
    since = forms.DateTimeField(required=False, error_messages={"invalid": "Give a time in UTC, as 2026-01-31 14:00."})
    until = forms.DateTimeField(required=False, error_messages={"invalid": "Give a time in UTC, as 2026-01-31 14:00."})

    def clean_period(self) -> str:
        if self.cleaned_data["period"]:
            return str(self.cleaned_data["period"])
        return "custom" if self.data.get("since") or self.data.get("until") else "all"

    def clean(self) -> None:
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if self.chosen_period == "custom" and since and until and until <= since:
            self.add_error("until", "This is not after the first time; swap the two.")

    @property
    def chosen_period(self) -> str:
        return str(self.cleaned_data.get("period", "custom"))

    def wanted(self, now: datetime, tail: int = DEFAULT_TAIL) -> LogQuery:
        """What a valid form asks for, as of `now`."""
        since, until = self.cleaned_data["since"], self.cleaned_data["until"]
        if self.chosen_period != "custom":
            since, until = (now - SPANS[self.chosen_period] if self.chosen_period in SPANS else None), None
        return LogQuery(tail, since, until, self.cleaned_data["q"])
