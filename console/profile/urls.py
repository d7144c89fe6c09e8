"""Addresses of the profile."""

from django.urls import path

from console.profile import profile, sessions

urlpatterns = [
    path("", profile.show_profile, name="profile"),
    path("sessions/end-others/", sessions.sign_out_of_other_sessions, name="sign-out-of-other-sessions"),
    path("sessions/<int:session_id>/end/", sessions.sign_out_of_session, name="sign-out-of-session"),
]
