"""Tags that render at compile time, or once a page, what Django's own would render again for every row."""

import uuid
from typing import Any

import pytest
from django.template import Context, Template, TemplateSyntaxError
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString

FIRST, SECOND = uuid.UUID(int=1), uuid.UUID(int=2)


def render(source: str, **values: object) -> str:
    return Template(source).render(Context(values))


def test_an_icon_is_the_same_by_a_literal_name_and_by_a_variable() -> None:
    literal = render('{% icon "check" %}|{% icon "check" inline=True %}')
    assert literal == render("{% icon name %}|{% icon name inline=True %}", name="check")
    assert literal.startswith('<svg class="icon" aria-hidden="true">')
    assert 'class="icon inline"' in literal


def test_the_name_of_an_icon_is_escaped() -> None:
    assert "<b>" not in render("{% icon name %}", name="<b>")


def test_an_icon_needs_a_name() -> None:
    with pytest.raises(TemplateSyntaxError):
        Template("{% icon %}")


@pytest.mark.parametrize("name", ["deployment", "logs", "deployment_edit", "terminate"])
def test_an_address_with_an_id_is_the_one_that_django_resolves(name: str) -> None:
    source = f"{{% url '{name}' first %}} {{% url '{name}' second %}}"
    expected = f"{reverse(name, args=[FIRST])} {reverse(name, args=[SECOND])}"
    assert render(source, first=FIRST, second=SECOND) == expected


def test_an_address_takes_an_id_as_text() -> None:
    assert render("{% url 'deployment' id %}", id=str(FIRST)) == reverse("deployment", args=[FIRST])


def test_an_address_without_arguments_with_keywords_or_as_a_variable_works_as_before() -> None:
    assert render("{% url 'keys' %}") == reverse("keys")
    assert render("{% url 'keys' as here %}[{{ here }}]") == f"[{reverse('keys')}]"
    assert render("{% url 'deployment' deployment_id=id %}", id=FIRST) == reverse("deployment", args=[FIRST])
    assert render("{% url 'admin:index' %}") == reverse("admin:index")


def test_an_unknown_view_is_an_error() -> None:
    with pytest.raises(NoReverseMatch):
        render("{% url 'nowhere' id %}", id=FIRST)


def test_repeated_content_is_rendered_once_for_each_kind_and_carries_the_values_of_each_row() -> None:
    rendered = []

    class Counted:
        def __str__(self) -> str:
            rendered.append(1)
            return "menu"

    def make_row(kind: str, number: int) -> dict[str, Any]:
        return {"kind": kind, "values": {"id": FIRST, "name": f"<{number}>", "safe": SafeString("<b>")}}

    rows = [make_row("a", 1), make_row("a", 2), make_row("b", 3)]
    content = "{% repeated row.kind row.values %}{{ id }}{{ name }}{{ row.kind }}{{ text }}{{ safe }}{% endrepeated %}"
    source = f"{{% for row in rows %}}{content}{{% endfor %}}"
    expected = "".join(f"{FIRST}&lt;{number}&gt;{kind}menu<b>" for number, kind in ((1, "a"), (2, "a"), (3, "b")))
    assert render(source, rows=rows, text=Counted()) == expected
    assert len(rendered) == 2
    assert render(source, rows=rows[:1], text="other") == f"{FIRST}&lt;1&gt;aother<b>"
