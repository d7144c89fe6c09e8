"""LoRA adapters on the base model of a deployment. Pure."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field

from deployments.schema.setting import Setting
from deployments.schema.types import CHOSEN_IF_ABSENT, Matching, Printable, Section

REPOSITORY_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}"


class Adapter(Section):
    """A LoRA adapter from Hugging Face; callers name it `deployment:name`. `revision` empty: the default branch."""

    name: Annotated[
        str,
        Matching(
            r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?",
            "Use 1 to 63 lowercase letters, digits, dots, - and _, with a letter or digit at both ends.",
            "invalid_name",
        ),
        Setting("Name", "Clients send deployment:name as model. Default: the last part of the repository."),
    ] = CHOSEN_IF_ABSENT
    repository: Annotated[
        str,
        Matching(
            REPOSITORY_PATTERN, "Write it as owner/name: letters, digits, dots, - and _.", "invalid_repository"
        ),
        Setting(
            "Repository", "On Hugging Face, owner/name.",
            required="Name the adapter's repository on Hugging Face: owner/name.", placeholder="owner/name",
        ),
    ]  # fmt: skip
    revision: Annotated[
        str,
        Field(max_length=100),
        Printable(),
        Setting("Revision", "Branch, tag or commit. Empty: the default branch.", placeholder="default branch"),
    ] = ""


def default_name(repository: str) -> str:
    """The last part of the repository, cut to the characters that a name may have."""
    return re.sub(r"[^a-z0-9]+$", "", repository.rpartition("/")[2].lower()[:63])
