import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from importlib import import_module
from typing import Any

import pytest
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.models import Organization, User
from accounts.roles import Role
from accounts.services import remove_member
from console.asgi import application
from console.live.shared_renders import SHARED_PAGES
from deployments import notifications, services
from deployments.models import Deployment
from deployments.states import DeploymentStatus
from tests.integration.console import deployment_rows as rows
from tests.integration.console.markup import squeeze

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connections_given_back")]
BACKEND = "django.contrib.auth.backends.ModelBackend"
database = database_sync_to_async
WAIT_SECONDS = 60  # for what takes a fraction of one


@database
def northwind(status: DeploymentStatus = DeploymentStatus.RUNNING) -> tuple[Organization, User, Deployment]:
    owner = rows.organization()
    return owner, rows.person("mara@example.com", owner), rows.in_status(owner, status, timezone.now())


@database
def session_of(user: User) -> str:
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def socket(path: str, session: str, origin: str = "http://127.0.0.1:8000") -> WebsocketCommunicator:
    cookie = f"{settings.SESSION_COOKIE_NAME}={session}"
    headers = [(b"origin", origin.encode()), (b"host", b"127.0.0.1:8000"), (b"cookie", cookie.encode())]
    return WebsocketCommunicator(application, path, headers)


@asynccontextmanager
async def opened(path: str, user: User) -> AsyncIterator[WebsocketCommunicator]:
    line = socket(path, await session_of(user))
    assert (await line.connect(timeout=WAIT_SECONDS))[0]
    yield line
    await line.disconnect(timeout=WAIT_SECONDS)


async def heard(line: WebsocketCommunicator, text: str, seconds: float = WAIT_SECONDS) -> str:
    """The first message that holds `text`."""
    async with asyncio.timeout(seconds):
        while True:
            message = squeeze(await line.receive_from(timeout=seconds))
            if text in message:
                return message


async def closed(line: WebsocketCommunicator, seconds: float = WAIT_SECONDS) -> int:
    async with asyncio.timeout(seconds):
        while True:
            output: dict[str, Any] = await line.receive_output(timeout=seconds)
            if output["type"] == "websocket.close":
                return int(output["code"])


async def test_a_page_gets_everything_when_it_connects_and_what_changed_after_a_notification():
    _, user, deployment = await northwind()
    async with opened(f"/ws/deployments/{deployment.pk}/", user) as line:
        first = await heard(line, 'id="header"')
        for name in ("status-banner", "readouts", "startup", "replicas", "timeline", "engine", "terminate-effects"):
            assert f'id="{name}" ' in first.replace(">", " >")
        assert 'data-status="RUNNING"' in first
        await database(services.terminate)(deployment, by=user, now=timezone.now())
        assert 'data-status="TERMINATING"' in await heard(line, 'id="header"')


async def test_the_gpus_in_use_of_the_frame_move_with_every_page():
    _, user, deployment = await northwind()
    for path in (f"/ws/deployments/{deployment.pk}/", "/ws/deployments/"):
        async with opened(path, user) as line:
            assert 'id="gpus-in-use" hx-swap-oob="true"' in await heard(line, 'id="gpus-in-use"')


async def test_who_may_not_deploy_is_sent_nothing_of_the_dialogs_its_page_lacks():
    owner, _, deployment = await northwind()
    viewer = await database(rows.person)("vera@example.com", owner, Role.VIEWER)
    async with opened(f"/ws/deployments/{deployment.pk}/", viewer) as line:
        assert 'id="terminate-effects"' not in await heard(line, 'id="header"')


async def test_what_is_pushed_holds_no_token_and_no_form():
    _, user, deployment = await northwind(DeploymentStatus.FAILED)
    page = f"/ws/deployments/{deployment.pk}/"
    for path in (page, f"{page}?page=settings", f"{page}?page=events", "/ws/deployments/"):
        async with opened(path, user) as line:
            pushed = await heard(line, "hx-swap-oob")
            assert "csrf" not in pushed
            assert "nonce" not in pushed
            assert "<form" not in pushed
            assert pushed.count('hx-swap-oob="true"') >= 3


async def test_the_settings_get_new_revisions_and_changes_and_nothing_of_other_pages():
    _, user, deployment = await northwind()
    async with opened(f"/ws/deployments/{deployment.pk}/?page=settings", user) as line:
        first = await heard(line, 'id="revisions"')
        assert 'id="change-log"' in first
        assert 'id="timeline"' not in first
        await database(services.terminate)(deployment, by=user, now=timezone.now())
        assert 'data-kind="terminate_requested"' in await heard(line, 'id="change-log"')


async def test_the_events_page_gets_new_events_of_its_kind_only():
    _, user, deployment = await northwind()
    async with opened(f"/ws/deployments/{deployment.pk}/?page=events&kind=scaling", user) as line:
        await heard(line, 'id="events"')
        await database(rows.event)(deployment, timezone.now(), "replica_ready", replica="r-1234", start_seconds=1)
        await database(rows.event)(deployment, timezone.now(), "scaled", **{"from": 1, "to": 2})
        await database(notifications.notify_pages)([deployment])
        pushed = await heard(line, 'data-kind="scaled"')
        assert 'data-kind="replica_ready"' not in pushed


async def test_what_somebody_does_is_told_while_it_happens():
    _, user, deployment = await northwind(DeploymentStatus.FAILED)
    async with opened(f"/ws/deployments/{deployment.pk}/", user) as line:
        assert 'form="retry-form"' in await heard(line, 'id="status-banner"')
        await database(services.retry)(deployment, by=user, now=timezone.now())
        assert 'form="retry-form"' not in await heard(line, 'id="status-banner"')


async def test_the_count_beside_the_list_moves_with_it():
    owner, user, _ = await northwind()
    async with opened("/ws/deployments/", user) as line:
        assert ">1</span>" in await heard(line, 'id="deployment-count"')
        made = await database(rows.in_status)(owner, DeploymentStatus.PENDING, timezone.now())
        await database(notifications.notify_pages)([made])
        assert 'id="deployment-count" hx-swap-oob="true">2</span>' in await heard(line, 'id="deployment-count"')


async def test_only_fragments_that_changed_are_sent():
    _, user, deployment = await northwind()
    async with opened(f"/ws/deployments/{deployment.pk}/", user) as line:
        await heard(line, 'id="header"')
        await database(rows.event)(deployment, timezone.now(), "retried")
        await database(notifications.notify_pages)([deployment])
        pushed = await heard(line, 'data-kind="retried"')
        assert 'id="timeline"' in pushed
        assert 'id="header"' not in pushed
        assert 'id="replicas"' not in pushed


async def test_a_hundred_notifications_are_a_few_messages():
    _, user, deployment = await northwind()
    async with opened(f"/ws/deployments/{deployment.pk}/", user) as line:
        await heard(line, 'id="header"')
        for number in range(100):
            await database(rows.event)(deployment, timezone.now(), "replica_ready", replica=f"r-{number}")
            await database(notifications.notify_pages)([deployment])
        messages = 0
        async with asyncio.timeout(WAIT_SECONDS):
            while "r-99 " not in await line.receive_from(timeout=WAIT_SECONDS):
                messages += 1
        assert messages < 25


async def test_figures_tick_by_themselves_while_something_starts():
    _, user, deployment = await northwind(DeploymentStatus.DEPLOYING)
    async with opened(f"/ws/deployments/{deployment.pk}/", user) as line:
        await heard(line, 'id="header"')
        ticked = await heard(line, 'id="startup"', seconds=3)
        assert "elapsed" in ticked
        assert 'id="header"' not in ticked


async def test_viewers_with_equal_rights_share_one_render_and_it_ends_with_the_last():
    owner, user, deployment = await northwind()
    other = await database(rows.person)("ilse@example.com", owner)
    path = f"/ws/deployments/{deployment.pk}/"
    async with opened(path, user) as one, opened(path, other) as two:
        await heard(one, 'id="header"')
        await heard(two, 'id="header"')
        assert len(SHARED_PAGES) == 1
    assert len(SHARED_PAGES) == 0


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
async def test_another_sites_page_is_refused(origin):
    _, user, deployment = await northwind()
    line = socket(f"/ws/deployments/{deployment.pk}/", await session_of(user), origin)
    assert not (await line.connect(timeout=WAIT_SECONDS))[0]


async def test_an_anonymous_visitor_is_refused():
    _, _, deployment = await northwind()
    for path in (f"/ws/deployments/{deployment.pk}/", "/ws/deployments/"):
        assert not (await socket(path, "nobody").connect(timeout=WAIT_SECONDS))[0]


async def test_another_organizations_deployment_is_refused_and_never_in_the_list():
    _, _, deployment = await northwind()
    stranger = await database(lambda: rows.person("eve@example.com", rows.organization("brightline")))()
    assert not (
        await socket(f"/ws/deployments/{deployment.pk}/", await session_of(stranger)).connect(timeout=WAIT_SECONDS)
    )[0]
    async with opened("/ws/deployments/", stranger) as line:
        assert deployment.name not in await heard(line, 'id="list"')
        await database(notifications.notify_pages)([deployment])
        assert await line.receive_nothing(timeout=1)


async def test_the_socket_ends_with_the_session():
    _, user, deployment = await northwind()
    session = await session_of(user)
    line = socket(f"/ws/deployments/{deployment.pk}/", session)
    assert (await line.connect(timeout=WAIT_SECONDS))[0]
    await heard(line, 'id="header"')
    store = import_module(settings.SESSION_ENGINE).SessionStore(session)
    await database(store.flush)()
    await database(notifications.notify_pages)([deployment])
    assert await closed(line) == 4403


async def test_the_socket_ends_when_the_person_leaves_the_organization():
    owner, user, deployment = await northwind()
    line = socket(f"/ws/deployments/{deployment.pk}/", await session_of(user))
    assert (await line.connect(timeout=WAIT_SECONDS))[0]
    await heard(line, 'id="header"')
    await database(remove_member)(organization=owner, user=user, now=timezone.now())
    await database(services.terminate)(deployment, by=None, now=timezone.now())
    assert await closed(line) == 4403


async def test_a_page_is_told_that_its_deployment_was_deleted_and_ends():
    _, user, deployment = await northwind(DeploymentStatus.TERMINATED)
    line = socket(f"/ws/deployments/{deployment.pk}/", await session_of(user))
    assert (await line.connect(timeout=WAIT_SECONDS))[0]
    await heard(line, 'id="header"')
    await database(services.delete)(deployment, by=user, now=timezone.now())
    assert f"{deployment.name} was deleted" in await heard(line, 'id="deleted"')
    assert await closed(line) == 4410


async def test_a_page_that_was_away_while_its_deployment_was_deleted_is_told_when_it_connects():
    _, user, deployment = await northwind(DeploymentStatus.TERMINATED)
    await database(services.delete)(deployment, by=user, now=timezone.now())
    line = socket(f"/ws/deployments/{deployment.pk}/?page=settings", await session_of(user))
    assert (await line.connect(timeout=WAIT_SECONDS))[0]
    assert f"{deployment.name} was deleted" in await line.receive_from(timeout=WAIT_SECONDS)
    assert await closed(line) == 4410


async def test_a_stranger_is_not_told_of_a_deletion():
    _, user, deployment = await northwind(DeploymentStatus.TERMINATED)
    stranger = await database(lambda: rows.person("eve@example.com", rows.organization("brightline")))()
    await database(services.delete)(deployment, by=user, now=timezone.now())
    assert not (
        await socket(f"/ws/deployments/{deployment.pk}/", await session_of(stranger)).connect(timeout=WAIT_SECONDS)
    )[0]


async def test_who_left_the_organization_before_the_deletion_is_not_told_of_it():
    owner, user, deployment = await northwind(DeploymentStatus.TERMINATED)
    line = socket(f"/ws/deployments/{deployment.pk}/", await session_of(user))
    assert (await line.connect(timeout=WAIT_SECONDS))[0]
    await heard(line, 'id="header"')
    await database(remove_member)(organization=owner, user=user, now=timezone.now())
    await database(services.delete)(deployment, by=None, now=timezone.now())
    assert await closed(line) == 4403


async def test_the_list_gets_new_deployments_row_by_row_changes_and_loses_deleted_ones():
    owner, user, first = await northwind(DeploymentStatus.TERMINATED)
    async with opened("/ws/deployments/?sort=name", user) as line:
        await heard(line, f'id="row-{first.pk}"')
        now: datetime = timezone.now()
        second = await database(rows.in_status)(owner, DeploymentStatus.PENDING, now)
        await database(notifications.notify_pages)([second])
        assert f'id="row-{second.pk}"' in await heard(line, 'id="list"')
        await database(services.terminate)(second, by=user, now=now)
        changed = await heard(line, f'id="row-{second.pk}"')
        assert 'data-status="TERMINATING"' in changed
        assert f'id="row-{first.pk}"' not in changed
        await database(services.delete)(first, by=user, now=now)
        assert f'id="row-{first.pk}"' not in await heard(line, 'id="list"')


async def test_the_list_shows_what_its_address_asks_for():
    owner, user, running = await northwind()
    failed = await database(rows.in_status)(owner, DeploymentStatus.FAILED, timezone.now())
    async with opened("/ws/deployments/?status=failed", user) as line:
        shown = await heard(line, 'id="list"')
        assert failed.name in shown
        assert running.name not in shown


async def test_a_page_that_was_away_gets_everything_anew():
    _, user, deployment = await northwind()
    path = f"/ws/deployments/{deployment.pk}/"
    async with opened(path, user) as line:
        await heard(line, 'id="header"')
    await database(services.terminate)(deployment, by=user, now=timezone.now())
    async with opened(path, user) as line:
        again = await heard(line, 'id="header"')
        assert 'data-status="TERMINATING"' in again
        assert 'id="timeline"' in again
