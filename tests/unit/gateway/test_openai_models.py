"""The bodies of the models endpoints."""

import json

from gateway import openai_models
from gateway.contract import RouteRecord

ROUTE = RouteRecord("d", "o", "acme", "chat", "open", 1.0, 100, simulated=True, adapters=["law", "v1.0"])


def test_models_are_listed_with_their_adapters():
    models = json.loads(openai_models.render_models([ROUTE]))["data"]
    assert [(model["id"], model["root"], model["parent"]) for model in models] == [
        ("chat", "chat", None),
        ("chat:law", "chat", "chat"),
        ("chat:v1.0", "chat", "chat"),
    ]
    assert json.loads(openai_models.render_model(ROUTE, "law")) == models[1]
