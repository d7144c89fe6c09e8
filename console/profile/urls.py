"""Address of the profile."""

from django.urls import path

from console.profile import profile

urlpatterns = [path("", profile.show_profile, name="profile")]
