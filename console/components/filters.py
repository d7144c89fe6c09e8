"""Filters of a list, read from its address. A value that is not valid counts as not given: a list never fails on its
address."""

from __future__ import annotations

from typing import Any

from django import forms

MAX_SEARCH_LENGTH = 200


class SearchField(forms.CharField):
    """Text to search for, cut at MAX_SEARCH_LENGTH."""

    def __init__(self) -> None:
        super().__init__(required=False, initial="")

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\x00", "")[:MAX_SEARCH_LENGTH]


class FilterForm(forms.Form):
    """Fields are not required and have an initial value, which stands for what is absent or not valid."""

    @property
    def filters(self) -> dict[str, Any]:
        """The value of every field."""
        self.full_clean()
        return {name: self.cleaned_data.get(name) or field.initial for name, field in self.fields.items()}
