"""Addresses of Redis."""

import pytest

from gateway.store.address import InvalidAddress, StoreAddress, parse_address


def test_a_url_names_host_port_database_and_credentials():
    assert parse_address("redis://me:p%40ss@store:7000/3") == StoreAddress(
        "store", 7000, database=3, username="me", password="p@ss"
    )
    assert parse_address("redis://:secret@127.0.0.1") == StoreAddress("127.0.0.1", password="secret")
    assert parse_address("redis://store?db=2").database == 2


def test_an_encrypted_connection_checks_the_certificate_unless_told_otherwise():
    assert parse_address("rediss://store:6380/0") == StoreAddress("store", 6380, is_encrypted=True)
    assert not parse_address("rediss://store?ssl_cert_reqs=none").verifies_certificate
    assert parse_address("rediss://store?ssl_ca_certs=/etc/ca.pem").ca_file == "/etc/ca.pem"


def test_a_unix_socket_has_a_path():
    assert parse_address("unix://:secret@/run/valkey.sock?db=1") == StoreAddress(
        path="/run/valkey.sock", database=1, password="secret"
    )


@pytest.mark.parametrize("url", ["http://store", "store:6379", "redis://store:port", "redis://store/one", "unix://"])
def test_an_invalid_url_is_refused_without_its_password(url):
    with pytest.raises(InvalidAddress, match="REDIS_URL must be"):
        parse_address(url)
