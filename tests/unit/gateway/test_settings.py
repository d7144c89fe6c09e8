"""Settings of the gateway."""

import pytest

from gateway.settings import InvalidSetting, read_settings


def test_settings_are_read_from_the_environment(tmp_path):
    settings = read_settings({"CONSOLE_DATA_DIR": str(tmp_path), "GATEWAY_PORT": "9001", "DRAIN_SECONDS": "7"})
    assert (settings.port, settings.drain_seconds, settings.spool_dir) == (9001, 7.0, tmp_path / "spool")
    assert read_settings({"DRAIN_SECONDS": "7", "GATEWAY_DRAIN_SECONDS": "5"}).drain_seconds == 5.0


@pytest.mark.parametrize("value", ["many", "-1", "nan", "inf"])
def test_a_setting_that_is_not_a_number_is_named_in_the_error(value):
    with pytest.raises(InvalidSetting, match="GATEWAY_PORT"):
        read_settings({"GATEWAY_PORT": value})
