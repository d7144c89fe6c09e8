"""Template filters and tags of the console, built in on every page."""

from django import template

register = template.Library()
