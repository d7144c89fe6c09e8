"""HTML as a browser reads it, so that tests do not depend on how templates are laid out."""

from __future__ import annotations

import re
from html import escape
from html.parser import HTMLParser

from django.http import HttpResponseBase

BLOCKS = (
    "html|head|body|meta|link|script|main|header|footer|nav|aside|section|div|form|fieldset|legend|dialog|details|"
    "summary|h1|h2|h3|p|ul|ol|li|dl|dt|dd|table|caption|thead|tbody|tfoot|tr|th|td|select|option|button"
)


def squeeze(page: HttpResponseBase | str) -> str:
    """White space is one space; there is none around blocks and before the end of a tag. `<pre>` and `<textarea>` keep
    theirs."""
    text = page if isinstance(page, str) else page.content.decode()  # type: ignore[attr-defined]
    parts = re.split(r"(<(?:pre|textarea)\b.*?</(?:pre|textarea)>)", text, flags=re.DOTALL)
    return "".join(part if place % 2 else _squeeze_part(part) for place, part in enumerate(parts))


def _squeeze_part(text: str) -> str:
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r" (/?>)", r"\1", text)
    return re.sub(rf" ?(</?(?:{BLOCKS})\b[^>]*>) ?", r"\1", text)


def words_of(html: str, element_id: str) -> str:
    """The text of an element with its characters escaped, its pieces separated by one space."""
    reader = _Words(element_id)
    reader.feed(html)
    return re.sub(r"\s+", " ", " ".join(reader.words))


class _Words(HTMLParser):
    """Collects the text between the start and the end of one element."""

    VOID = frozenset({"input", "br", "img", "meta", "link", "use", "path", "line", "rect"})

    def __init__(self, element_id: str) -> None:
        super().__init__()
        self.element_id, self.depth = element_id, 0
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID and (self.depth or ("id", self.element_id) in attrs):
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        if self.depth and tag not in self.VOID:
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.words.append(escape(data, quote=False))
