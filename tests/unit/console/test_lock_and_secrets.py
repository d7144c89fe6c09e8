import json
import stat

import pytest

from console.machine import datafolder, runfile


def test_secrets_are_made_once_and_only_their_owner_may_read_them(tmp_path):
    made = datafolder.generated_secrets(tmp_path)
    assert datafolder.generated_secrets(tmp_path) == made
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    values = json.loads((tmp_path / "secrets.json").read_text()).values()
    assert len(set(values)) == len(values)
    assert all(len(value) >= 32 for value in values)


def test_a_second_console_on_the_same_folder_is_told_which_process_has_it(tmp_path):
    folder = tmp_path / "var"
    with datafolder.lock(folder):
        pid = (folder / "up.lock").read_text().strip()
        with pytest.raises(datafolder.Unusable, match=rf"process {pid}\)"), datafolder.lock(folder):
            pass
    with datafolder.lock(folder):
        assert (folder / "up.lock").read_text().strip() == pid


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(datafolder.Unusable, match="CONSOLE_DATA_DIR"), datafolder.lock(tmp_path / "file" / "var"):
        pass


def test_the_run_file_is_private_and_replaced_whole(tmp_path):
    runfile.write(tmp_path, {"processes": {"up": 1}})
    runfile.write(tmp_path, {"processes": {"up": 2}})
    assert runfile.read(tmp_path) == {"processes": {"up": 2}}
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_the_run_file_shows_the_demo_only_while_it_is_there(tmp_path):
    runfile.write(tmp_path, {"processes": {}, "demo": {"operator": {}}})
    runfile.show_demo(tmp_path, {"removed": True})
    assert runfile.read(tmp_path) == {"processes": {}}
    runfile.show_demo(tmp_path, {"operator": {"email": "o"}, "member": {}, "api_keys": {}, "people": {}})
    assert runfile.read(tmp_path)["demo"] == {"operator": {"email": "o"}, "member": {}, "api_keys": {}}


def test_a_command_beside_a_running_console_uses_its_servers_unless_told_otherwise(tmp_path):
    runfile.write(tmp_path, {"database_url": "postgresql://here", "redis_url": "redis://here"})
    variables = {"REDIS_URL": "redis://mine"}
    runfile.join_running_console(tmp_path, variables)
    assert variables == {"REDIS_URL": "redis://mine", "DATABASE_URL": "postgresql://here"}
