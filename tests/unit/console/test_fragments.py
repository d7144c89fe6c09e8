"""A fragment that sockets push replaces the element with its id: the template's root element must have it."""

import re
from pathlib import Path

import pytest

from console.deployments import detail, events, settings
from console.deployments import list as deployment_list
from console.live.fragments import DIALOGS

TEMPLATES = Path(__file__).resolve().parents[3] / "templates" / "deployments"
FRAGMENTS = {*detail.FRAGMENTS, *events.FRAGMENTS, *settings.FRAGMENTS, *deployment_list.FRAGMENTS, *DIALOGS}


@pytest.mark.parametrize("name", sorted(FRAGMENTS))
def test_the_root_element_of_a_fragment_has_its_name_as_id_and_is_swapped_out_of_band(name):
    text = re.sub(r"{%.*?%}|{{.*?}}", "", (TEMPLATES / f"_{name}.html").read_text())
    root = re.search(r"<[a-z]+[^>]*>", text)
    assert root
    assert f'id="{name.replace("_", "-")}"' in root[0]
    assert 'hx-swap-oob="true"' in root[0]
