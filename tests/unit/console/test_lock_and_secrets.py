import json
import stat

import pytest

from console.machine import lock_and_secrets


def test_secrets_are_generated_once_and_private(tmp_path):
    secrets = lock_and_secrets.get_or_create_secrets(tmp_path)
    assert lock_and_secrets.get_or_create_secrets(tmp_path) == secrets
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    values = json.loads((tmp_path / "secrets.json").read_text()).values()
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)


def test_the_error_for_a_locked_folder_names_the_process(tmp_path):
    folder = tmp_path / "var"
    with lock_and_secrets.lock_folder(folder):
        pid = (folder / "up.lock").read_text().strip()
        with (
            pytest.raises(lock_and_secrets.StartupError, match=rf"process {pid}\)"),
            lock_and_secrets.lock_folder(folder),
        ):
            pass
    with lock_and_secrets.lock_folder(folder):
        assert (folder / "up.lock").read_text().strip() == pid


def test_the_error_for_a_folder_that_is_not_writable_names_the_variable(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(lock_and_secrets.StartupError, match="CONSOLE_DATA_DIR"),
        lock_and_secrets.lock_folder(tmp_path / "file" / "var"),
    ):
        pass
