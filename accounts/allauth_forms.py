"""The forms of django-allauth for passwords, with labels and messages in the words of the console."""

from __future__ import annotations

from typing import Any

from allauth.account import forms

MISMATCH = "The two passwords are different. Type the same password twice."


class _NewPassword:
    """Labels the two fields of a new password and explains when they differ."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["password1"].label = "New password"  # type: ignore[attr-defined]
        self.fields["password2"].label = "Repeat the new password"  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean()  # type: ignore[misc]
        if "password1" in cleaned and self.has_error("password2") and not self.has_error("password2", "required"):  # type: ignore[attr-defined]
            self.errors["password2"] = self.error_class([MISMATCH])  # type: ignore[attr-defined]
        return cleaned


class ChangePasswordForm(_NewPassword, forms.ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["oldpassword"].label = "Current password"


class ResetPasswordKeyForm(_NewPassword, forms.ResetPasswordKeyForm):  # type: ignore[misc]
    """Chooses a new password after the link of a reset e-mail."""


class ResetPasswordForm(forms.ResetPasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.fields["email"].label = "E-mail"
