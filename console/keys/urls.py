"""Addresses of API keys."""

from django.urls import path

from console.keys import list as key_list
from console.keys import revoke

urlpatterns = [
    path("", key_list.list_keys, name="keys"),
    path("<uuid:key_id>/revoke/", revoke.revoke_key, name="revoke-api-key"),
]
