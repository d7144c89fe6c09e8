"""The form of the playground: a message, the conversation before it, and how the deployment answers."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from console.playground.answer import Question

TOKENS_MESSAGE = "Enter a whole number from 1 to 4,096."
TEMPERATURE_MESSAGE = "Enter a number from 0 to 2, or leave it empty."
MAX_TURNS, MAX_HISTORY_LENGTH = 100, 200_000


class PlaygroundForm(forms.Form):
    """`history` is the conversation so far as JSON: a list of {"role": "user" or "assistant", "content": text}."""

    message = forms.CharField(max_length=20_000, error_messages={"required": "Enter a message."})
    system = forms.CharField(max_length=20_000, required=False)
    temperature = forms.FloatField(
        min_value=0,
        max_value=2,
        required=False,
        error_messages=dict.fromkeys(("invalid", "min_value", "max_value"), TEMPERATURE_MESSAGE),
    )
    max_tokens = forms.IntegerField(
        min_value=1,
        max_value=4096,
        initial=256,
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), TOKENS_MESSAGE),
    )
    history = forms.CharField(max_length=MAX_HISTORY_LENGTH, required=False, strip=False)

    def clean_history(self) -> list[dict[str, str]]:
        try:
            turns = json.loads(self.cleaned_data["history"] or "[]")
        except ValueError:
            turns = None
        if not isinstance(turns, list) or len(turns) > MAX_TURNS or not all(map(_is_turn, turns)):
            raise ValidationError("The conversation cannot be continued. Clear it to start a new one.")
        return turns

    @property
    def question(self) -> Question:
        """What is sent to the deployment; the form must be valid."""
        cleaned = self.cleaned_data
        system = [{"role": "system", "content": cleaned["system"]}] if cleaned["system"] else []
        message = {"role": "user", "content": cleaned["message"]}
        return Question([*system, *cleaned["history"], message], cleaned["max_tokens"], cleaned["temperature"])

    @property
    def has_open_options(self) -> bool:
        """Whether the options differ from their defaults or have errors, so that they must be visible."""
        return bool(self["system"].value() or self["system"].errors)


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and turn.keys() == {"role", "content"}
        and turn["role"] in ("user", "assistant")
        and isinstance(turn["content"], str)
    )
