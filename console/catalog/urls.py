"""Addresses of the catalog."""

from django.urls import path

from console.catalog import list as catalog

urlpatterns = [path("", catalog.show_catalog, name="catalog")]
