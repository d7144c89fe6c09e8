"""A deployment that is deleted while a request is under way is not found, and no error of the console."""

import pytest
from django.test import Client, RequestFactory

from console.middleware import DeletedMeanwhile
from deployments.models import Deployment

pytestmark = pytest.mark.django_db


def test_what_was_deleted_between_look_up_and_lock_is_404(client: Client):
    request = RequestFactory().post("/deployments/x/edit/")
    request.user = client.get("/accounts/login/").wsgi_request.user
    handler = DeletedMeanwhile(lambda request: None)
    answer = handler.process_exception(request, Deployment.DoesNotExist())
    assert answer.status_code == 404
    assert handler.process_exception(request, ValueError()) is None
