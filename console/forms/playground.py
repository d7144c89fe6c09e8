"""One question to a deployment."""

from django import forms

DIGITS = {
    "inputmode": "numeric",
    "pattern": "[1-9][0-9]{0,3}",
    "title": "1 to 4096",
    "class": "figures",
    "size": 5,
    "autocomplete": "off",
}


class PlaygroundForm(forms.Form):
    message = forms.CharField(
        max_length=20_000,
        widget=forms.Textarea(attrs={"rows": 2, "placeholder": "Ask the model something"}),
        error_messages={"required": "Write a message first."},
    )
    max_tokens = forms.IntegerField(
        min_value=1,
        max_value=4096,
        initial=256,
        widget=forms.TextInput(attrs=DIGITS),
        error_messages={
            "required": "Say how many tokens the answer may have: 1 to 4096.",
            "invalid": "Max tokens is a whole number from 1 to 4096.",
            "min_value": "Max tokens is a whole number from 1 to 4096.",
            "max_value": "Max tokens is a whole number from 1 to 4096.",
        },
    )
