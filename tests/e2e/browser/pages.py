"""Every page: its address, with `{id}` for a running deployment. PAGES have a picture of that name in docs/images."""

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
PAGES_WITHOUT_PICTURE = {
    "edit": "/deployments/{id}/edit/",
    "clone": "/deployments/{id}/clone/",
    "terminate": "/deployments/{id}/terminate/",
    "rollback": "/deployments/{id}/revisions/1/rollback/",
    "logs of a time": "/deployments/{id}/logs/?period=custom",
    "usage of a time": "/usage/?period=custom",
    "REST API": "/api/v1/docs",
}
# `{lost}`: a deployment whose `{replica}` is unknown.
OPERATOR_PAGES = {
    "lost replica": "/deployments/{lost}/",
    "declare-gone": "/deployments/{lost}/replicas/{replica}/declare-gone/",
}
