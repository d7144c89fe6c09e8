"""Every WebSocket address of the console."""

from django.urls import path

from console.live.consumers import DeploymentConsumer, DeploymentsConsumer

websocket_urlpatterns = [
    path("ws/deployments/", DeploymentsConsumer.as_asgi()),
    path("ws/deployments/<uuid:deployment_id>/", DeploymentConsumer.as_asgi()),
]
