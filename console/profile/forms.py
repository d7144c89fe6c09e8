"""The form of the profile."""

from django import forms


class ProfileForm(forms.Form):
    name = forms.CharField(max_length=120, required=False)
