from dataclasses import replace
from pathlib import Path

from console import env
from console.machine.startup_banner import build_banner

ENVIRONMENT = replace(env.read({}), data_dir=Path("/data"))
DEMO = {
    "member": {"email": "admin@demo.example", "password": "one"},
    "operator": {"email": "operator@demo.example", "password": "two"},
    "api_keys": {"inference": "mc_three"},
}


def test_the_banner_aligns_addresses_and_credentials():
    lines = build_banner(ENVIRONMENT, DEMO, 7.25).splitlines()
    assert "Models Console is ready after 7.2 s" in lines
    assert "  REST API   http://127.0.0.1:8000/api/v1/docs" in lines
    assert "  Sign in    admin@demo.example      password one" in lines
    assert "  Operator   operator@demo.example   password two" in lines
    assert "  API key    mc_three   scope inference" in lines


def test_without_demo_data_the_banner_names_the_commands():
    text = build_banner(ENVIRONMENT, {}, 1.0)
    assert "Create the first operator: python manage.py createsuperuser" in text
    assert "Create demo data:          python manage.py demo" in text
