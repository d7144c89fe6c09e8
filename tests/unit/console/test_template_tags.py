"""Tags that render at compile time, or once a page, what Django's own would render again for every row."""

import uuid

import pytest
from django.template import Context, Template, TemplateSyntaxError
from django.urls import NoReverseMatch, reverse

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


def test_repeated_content_is_rendered_once_for_each_key_and_carries_each_id() -> None:
    rendered = []

    class Counted:
        def __str__(self) -> str:
            rendered.append(1)
            return "menu"

    rows = [{"key": "a", "id": FIRST}, {"key": "a", "id": SECOND}, {"key": "b", "id": FIRST}]
    content = "{% repeated row.key id=row.id %}{{ id }}:{{ row.key }}:{{ text }};{% endrepeated %}"
    source = f"{{% for row in rows %}}{content}{{% endfor %}}"
    assert render(source, rows=rows, text=Counted()) == f"{FIRST}:a:menu;{SECOND}:a:menu;{FIRST}:b:menu;"
    assert len(rendered) == 2
    assert render(source, rows=rows[:1], text="other") == f"{FIRST}:a:other;"
