"""The parts of a deployment's body that stand on their own: adapters, and how many replicas. Pure."""

from __future__ import annotations

import re

from deployments import specs
from deployments.fields import Fields
from deployments.specs import Adapter, Autoscaling, Options

MOST_REPLICAS, MOST_ADAPTERS = 64, 32
LONGEST_DELAY_SECONDS, LONGEST_SLEEP_SECONDS = 86_400, 7 * 86_400
PINS_NO_ADAPTER = ("vllm",)  # engines that fetch the default branch of an adapter's repository, whatever is asked
RANGE = ("min_replicas", "max_replicas", "scale_down_delay_seconds", "sleep_after_seconds")


def autoscaling(fields: Fields, options: Options, in_force: Autoscaling | None = None) -> Autoscaling:
    """The replica range, or with `enabled: false` the fixed number `replicas`, which alone says so too. Delays that
    are `in_force` may stay below a floor that rose since."""
    chosen = fields.child("autoscaling")
    enabled = chosen.boolean("enabled", not chosen.has("replicas"))
    result = _range(chosen, options, in_force) if enabled else _fixed(chosen)
    chosen.finish()
    return result


def _fixed(chosen: Fields) -> Autoscaling:
    for name in RANGE:
        if chosen.has(name):
            _not_applicable(chosen, name, "Without autoscaling there is no range: remove it, or send enabled: true.")
    return Autoscaling.fixed(chosen.integer("replicas", 1, lowest=1, highest=MOST_REPLICAS) or 1)


def _range(chosen: Fields, options: Options, in_force: Autoscaling | None) -> Autoscaling:
    if chosen.has("replicas"):
        _not_applicable(chosen, "replicas", "A fixed number goes with enabled: false; send min and max_replicas here.")
    usual, floor = Autoscaling(), options.delay_floor_seconds
    least = chosen.integer("min_replicas", None, lowest=0, highest=MOST_REPLICAS)
    most = chosen.integer("max_replicas", None, lowest=1, highest=MOST_REPLICAS)
    if least is not None and most is not None and most < least:
        chosen.refuse("max_replicas", "below_minimum", f"Use {least} (min_replicas) or more.")
    low = least if least is not None else min(usual.min_replicas, most or usual.min_replicas)
    delay = chosen.integer(
        "scale_down_delay_seconds",
        max(usual.scale_down_delay_seconds, floor),
        lowest=floor,
        highest=LONGEST_DELAY_SECONDS,
        kept=in_force.scale_down_delay_seconds if in_force else None,
    )
    sleep = None
    if not chosen.is_null("sleep_after_seconds"):
        kept = in_force.sleep_after_seconds if in_force else None
        sleep = chosen.integer("sleep_after_seconds", None, lowest=floor, highest=LONGEST_SLEEP_SECONDS, kept=kept)
    high = most if most is not None else max(usual.max_replicas, low)
    return Autoscaling(True, low, high, usual.scale_down_delay_seconds if delay is None else delay, sleep)


def _not_applicable(chosen: Fields, name: str, message: str) -> None:
    chosen.refuse(name, "not_applicable", message)
    chosen.is_null(name)  # taken: one message is enough


def adapters(fields: Fields, engine_name: str | None) -> tuple[Adapter, ...]:
    """LoRA adapters on the base model, each with a name of its own, by which they are sorted: order means nothing."""
    found: list[Adapter] = []
    for item in fields.objects("adapters", most=MOST_ADAPTERS):
        adapter = _adapter(item, can_pin=engine_name not in PINS_NO_ADAPTER)
        if adapter and adapter.name in {one.name for one in found}:
            item.refuse(
                "name", "name_taken", f"Another adapter is named {adapter.name!r} already; choose another name."
            )
        elif adapter:
            found.append(adapter)
    return tuple(sorted(found, key=lambda one: one.name))


def _adapter(item: Fields, *, can_pin: bool) -> Adapter | None:
    if item.is_object and not item.has("repository"):
        item.refuse("repository", "required", "Name the adapter's repository on Hugging Face: owner/name.")
    repository = item.text("repository", None, longest=200)
    if repository is not None and not re.fullmatch(specs.REPOSITORY_PATTERN, repository):
        item.refuse("repository", "invalid_repository", "Write it as owner/name: letters, digits, dots, - and _.")
        repository = None
    name = item.text("name", _usual_name(repository), longest=200)
    if name is not None and not re.fullmatch(specs.ADAPTER_PATTERN, name):
        message = "Use 1 to 63 lowercase letters, digits, dots, - and _, with a letter or digit at both ends."
        item.refuse("name", "invalid_name", message)
        name = None
    revision = item.text("revision", "", longest=100)
    if revision and not can_pin:
        message = "vLLM loads the default branch only: remove this, or name a repository that holds the version."
        item.refuse("revision", "not_applicable", message)
    item.finish()
    return Adapter(name, repository, revision or "") if name and repository else None


def _usual_name(repository: str | None) -> str | None:
    """The last part of the repository, as far as a name may have its characters."""
    if repository is None:
        return None
    return re.sub(r"[^a-z0-9]+$", "", repository.rpartition("/")[2].lower()[:63])
