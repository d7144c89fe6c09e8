"""The form of the usage page: a period of whole days in UTC, and what to group by."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django import forms

from billing.queries import get_month_start

PERIODS = {"today": "Today", "week": "7 days", "month": "This month", "custom": "Custom"}
GROUPS = {"deployment": "Deployment", "api_key": "API key"}
MAX_DAYS = 400
SEPARATOR = "--"
DATE_MESSAGE = "Enter a date, such as 2026-01-31."


@dataclass(frozen=True)
class Period:
    """[since, until), aware, UTC."""

    since: datetime
    until: datetime


def data_from_address(period: str, group_by: str) -> dict[str, str]:
    """The form's data from the parts of a CSV's address: `month`, or `2026-01-01--2026-01-31`."""
    if SEPARATOR not in period:
        return {"period": period, "group_by": group_by}
    first, _, last = period.partition(SEPARATOR)
    return {"period": "custom", "first": first, "last": last, "group_by": group_by}


class UsageForm(forms.Form):
    """Read from the address; without parameters this month by deployment."""

    period = forms.ChoiceField(choices=list(PERIODS.items()), required=False)
    group_by = forms.ChoiceField(choices=list(GROUPS.items()), required=False)
    first = forms.DateField(required=False, error_messages={"invalid": DATE_MESSAGE})
    last = forms.DateField(required=False, error_messages={"invalid": DATE_MESSAGE})

    def clean_period(self) -> str:
        return self.cleaned_data["period"] or "month"

    def clean_group_by(self) -> str:
        return self.cleaned_data["group_by"] or "deployment"

    def clean(self) -> None:
        if self.cleaned_data.get("period") != "custom" or self.errors or self.is_just_chosen:
            return
        first, last = self.cleaned_data["first"], self.cleaned_data["last"]
        for name in ("first", "last"):
            if not self.cleaned_data[name]:
                self.add_error(name, DATE_MESSAGE)
        if first and last and last < first:
            self.add_error("last", "The last day is before the first day.")
        elif first and last and (last - first).days >= MAX_DAYS:
            self.add_error("last", f"The period is more than {MAX_DAYS} days. Choose a shorter one.")

    @property
    def is_just_chosen(self) -> bool:
        """A custom period was chosen, and the fields for its days are yet to be shown; until then it is this month."""
        return self.data.get("period") == "custom" and not {"first", "last"} & set(self.data)

    @property
    def download(self) -> dict[str, str]:
        """The parts of the CSV's address for the same table."""
        cleaned = self.cleaned_data if self.is_valid() else {"period": "month", "group_by": "deployment"}
        if self.is_just_chosen:
            cleaned = {**cleaned, "period": "month"}
        period = cleaned["period"]
        if period == "custom":
            period = f"{cleaned['first']}{SEPARATOR}{cleaned['last']}"
        return {"period": period, "group_by": cleaned["group_by"]}

    def span(self, now: datetime) -> Period:
        """The period as of `now`; an invalid form gives this month."""
        has_period = self.is_valid() and not self.is_just_chosen
        kind = self.cleaned_data.get("period", "month") if has_period else "month"
        today = now.astimezone(UTC).date()
        match kind:
            case "today":
                return Period(_midnight(today), now)
            case "week":
                return Period(_midnight(today - timedelta(days=6)), now)
            case "custom":
                return Period(
                    _midnight(self.cleaned_data["first"]), _midnight(self.cleaned_data["last"] + timedelta(days=1))
                )
            case _:
                return Period(get_month_start(now), now)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
