"""The memory limit of the embedded Valkey, its alarm, and what the start says of an external Redis."""

import logging
from pathlib import Path

import pytest
import redis

from console import tasks
from console.machine import embedded_servers, process_spec
from console.machine.embedded_servers import find_free_port, list_redis_risks


@pytest.fixture
def limited(tmp_path: Path):
    """A Valkey as the console starts it."""
    port = find_free_port()
    process = process_spec.start_process(embedded_servers.prepare_valkey(tmp_path, port, "secret"))
    with redis.Redis.from_url(embedded_servers.build_redis_url(port, "secret")) as client:
        yield client
    process.kill()
    process.wait()


def test_the_embedded_valkey_has_a_limit_and_no_risks(limited):
    assert limited.info("memory")["maxmemory"] == embedded_servers.VALKEY_BYTES
    port = limited.connection_pool.connection_kwargs["port"]
    assert list_redis_risks(embedded_servers.build_redis_url(port, "secret")) == []


def test_each_risky_setting_of_an_external_redis_is_named_with_its_remedy(limited):
    limited.config_set("maxmemory-policy", "allkeys-lru")
    limited.config_set("maxmemory", 0)
    limited.config_set("appendonly", "no")
    port = limited.connection_pool.connection_kwargs["port"]
    risks = list_redis_risks(embedded_servers.build_redis_url(port, "secret"))
    assert [risk.rpartition("Set ")[2].split()[0].rstrip(",") for risk in risks] == [
        "maxmemory-policy",
        "maxmemory",
        "appendonly",
    ]


def test_a_redis_whose_settings_may_not_be_read_is_used_and_said(limited):
    limited.acl_setuser("app", enabled=True, passwords=["+secret"], categories=["+@all"], commands=["-info"])
    port = limited.connection_pool.connection_kwargs["port"]
    (note,) = list_redis_risks(f"redis://app:secret@127.0.0.1:{port}/0")
    assert "could not be checked" in note


def test_a_redis_that_is_nearly_full_is_an_error_in_the_log(limited, monkeypatch, caplog):
    monkeypatch.setattr(tasks, "redis_client", lambda: limited)
    tasks.check_redis_memory()
    assert not caplog.records
    limited.config_set("maxmemory", limited.info("memory")["used_memory"] + 1000)
    tasks.check_redis_memory()
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_a_redis_that_is_away_is_no_error_of_the_check(monkeypatch, caplog):
    away = redis.Redis(port=find_free_port())
    monkeypatch.setattr(tasks, "redis_client", lambda: away)
    tasks.check_redis_memory()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
