"""Addresses of the usage page and its CSV."""

from django.urls import path

from console.usage import usage_table

urlpatterns = [
    path("", usage_table.show_usage, name="usage"),
    path("<slug:period>/<slug:group_by>.csv", usage_table.download_csv, name="usage-csv"),
]
