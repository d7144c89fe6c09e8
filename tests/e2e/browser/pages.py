"""Every page, by the name of its screenshot: its address, with `{id}` for a running deployment."""

SIGN_IN = "/accounts/login/"
PAGES = {
    "deployments": "/deployments/",
    "new-deployment": "/deployments/new/",
    "deployment": "/deployments/{id}/",
    "events": "/deployments/{id}/events/",
    "settings": "/deployments/{id}/settings/",
    "logs": "/deployments/{id}/logs/",
    "playground": "/deployments/{id}/playground/",
    "api-keys": "/settings/api-keys/",
    "profile": "/settings/profile/",
    "change-password": "/accounts/password/change/",
    "usage": "/usage/",
    "catalog": "/catalog/",
}
