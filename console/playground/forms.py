"""The form of the playground: one question to a deployment."""

from django import forms

TOKENS_MESSAGE = "Max tokens is a whole number from 1 to 4096."


class PlaygroundForm(forms.Form):
    message = forms.CharField(max_length=20_000, error_messages={"required": "Write a message first."})
    max_tokens = forms.IntegerField(
        min_value=1,
        max_value=4096,
        initial=256,
        error_messages={
            "required": "Say how many tokens the answer may have: 1 to 4096.",
            "invalid": TOKENS_MESSAGE,
            "min_value": TOKENS_MESSAGE,
            "max_value": TOKENS_MESSAGE,
        },
    )
