import warnings

import pytest
from django.test import AsyncClient


@pytest.mark.parametrize("path", ["css/tokens.css", "js/live.js", "icons.svg", "django_htmx/htmx-2.min.js"])
async def test_the_web_process_serves_its_own_files_without_a_warning(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answer = await AsyncClient().get(f"/static/{path}")
        again = await AsyncClient().get(f"/static/{path}", headers={"if-none-match": answer["ETag"]})
    assert answer.status_code == 200
    assert int(answer["Content-Length"]) == len(answer.content) > 0
    assert answer["x-request-id"].startswith("req_")
    assert again.status_code == 304


async def test_a_file_that_is_not_there_is_404():
    assert (await AsyncClient().get("/static/css/none.css")).status_code == 404


async def test_browsers_that_ask_for_favicon_ico_get_an_icon_and_the_log_no_line(caplog):
    answer = await AsyncClient().get("/favicon.ico", follow=True)
    assert (answer.status_code, answer.content[:4]) == (200, b"\0\0\1\0")
    assert caplog.records == []
