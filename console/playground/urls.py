"""Address of a deployment's playground."""

from django.urls import path

from console.playground import playground

urlpatterns = [path("", playground.playground, name="playground")]
