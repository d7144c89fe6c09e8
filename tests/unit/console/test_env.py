import base64

import pytest

from console import env


def test_defaults_are_those_of_the_documentation():
    seen = env.read({})
    assert seen.data_dir == env.ROOT / "var"
    assert (seen.host, seen.console_port, seen.gateway_port, seen.metrics_port) == ("127.0.0.1", 8000, 8001, 8002)
    assert seen.demo
    assert seen.scale_down_delay_floor_seconds == 300
    assert seen.console_url == "http://127.0.0.1:8000"
    assert seen.metrics_url == "http://127.0.0.1:8002/metrics"


def test_a_relative_data_folder_is_relative_to_the_checkout():
    assert env.read({"CONSOLE_DATA_DIR": "elsewhere"}).data_dir == env.ROOT / "elsewhere"
    assert str(env.read({"CONSOLE_DATA_DIR": "/data"}).data_dir) == "/data"


def test_a_wildcard_address_is_called_by_a_real_one():
    assert env.read({"CONSOLE_HOST": "0.0.0.0"}).gateway_url == "http://127.0.0.1:8001"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CONSOLE_PORT", "http", "CONSOLE_PORT must be a whole number"),
        ("GATEWAY_PORT", "70000", "GATEWAY_PORT must be a port between 1 and 65535"),
        ("METRICS_PORT", "8000", "CONSOLE_PORT and METRICS_PORT are both 8000"),
        ("DATABASE_URL", "sqlite:///x", "DATABASE_URL must begin with postgresql://"),
        ("REDIS_URL", "127.0.0.1:6379", "REDIS_URL must begin with redis://"),
        ("CONSOLE_ENCRYPTION_KEYS", "zz", "CONSOLE_ENCRYPTION_KEYS must be keys of 32 bytes in base64"),
        ("CONSOLE_ENCRYPTION_KEYS", f"{'A' * 43}=,{'A' * 42}", "key 2 is not one"),
        ("CONSOLE_DEMO", "yes", "CONSOLE_DEMO must be 0 or 1"),
        ("SCALE_DOWN_DELAY_FLOOR_SECONDS", "-5", "SCALE_DOWN_DELAY_FLOOR_SECONDS must be a whole number"),
        ("AUTOSCALER_TARGET_PERCENT", "0", "AUTOSCALER_TARGET_PERCENT must be between 1 and 100"),
        ("AUTOSCALER_SAMPLE_SECONDS", "0", "AUTOSCALER_SAMPLE_SECONDS must be 1 or more"),
        ("TRUSTED_PROXIES", "10.0.0.2, *", "separated by commas, not '*'"),
        ("TRUSTED_PROXIES", "10.0.0.2/8", "TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8"),
        ("GATEWAY_PROCESSES", "0", "GATEWAY_PROCESSES must be between 1 and 64"),
        ("ENDED_REPLICA_DAYS", "0", "ENDED_REPLICA_DAYS must be between 1 and 36500"),
        ("EMAIL_URL", "mail.example.com", "EMAIL_URL must be smtp://"),
        ("EMAIL_URL", "smtp://mail.example.com:port", "EMAIL_URL must be smtp://"),
        ("EMAIL_URL", "smtps://mail.example.com", "DEFAULT_FROM_EMAIL must be the sender's e-mail address"),
    ],
)
def test_a_value_that_cannot_be_used_is_one_line_that_names_its_variable(name, value, words):
    with pytest.raises(env.InvalidEnvironment) as caught:
        env.read({name: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("", None),
        ("smtp://mail", env.MailServer("smtp", "mail", 25, "", "")),
        ("smtp+tls://mail.example.com", env.MailServer("smtp+tls", "mail.example.com", 587, "", "")),
        ("smtps://a%40b:p%2Fw@mail:2465/", env.MailServer("smtps", "mail", 2465, "a@b", "p/w")),
    ],
)
def test_the_mail_server_is_one_address(url, server):
    assert env.read({"EMAIL_URL": url, "DEFAULT_FROM_EMAIL": "console@example.com"}).mail_server == server


def test_a_wrong_mail_server_is_reported_without_its_password():
    with pytest.raises(env.InvalidEnvironment) as caught:
        env.read({"EMAIL_URL": "https://user:hunter2@mail", "DEFAULT_FROM_EMAIL": "console@example.com"})
    assert "hunter2" not in str(caught.value)


def test_trusted_proxies_are_addresses_and_networks_and_by_default_this_machine():
    assert env.read({}).trusted_proxies == ("127.0.0.1", "::1")
    assert env.read({"TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7"}).trusted_proxies == ("10.0.0.0/8", "192.0.2.7")


def test_dotenv_reads_assignments_and_leaves_the_rest():
    text = "# a comment\nexport CONSOLE_PORT=9000\nCONSOLE_HOST='::1'\n\nno assignment\n"
    assert env.parse_dotenv(text) == {"CONSOLE_PORT": "9000", "CONSOLE_HOST": "::1"}


def test_encryption_keys_come_in_either_alphabet_newest_first():
    keys = [base64.b64encode(b"\xff" * 32).decode(), base64.urlsafe_b64encode(b"\xfb" * 32).decode()]
    assert env.read({"CONSOLE_ENCRYPTION_KEYS": f" {keys[0]}, {keys[1]},"}).encryption_keys == ",".join(keys)
    assert env.read({}).encryption_keys == ""
