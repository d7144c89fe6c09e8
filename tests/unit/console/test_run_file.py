import stat

from console.machine import run_file


def test_the_run_file_is_private_and_replaced_atomically(tmp_path):
    run_file.write(tmp_path, {"processes": {"up": 1}})
    run_file.write(tmp_path, {"processes": {"up": 2}})
    assert run_file.read(tmp_path) == {"processes": {"up": 2}}
    assert stat.S_IMODE((tmp_path / "run.json").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_the_run_file_contains_the_demo_block_only_while_there_is_demo_data(tmp_path):
    run_file.write(tmp_path, {"processes": {}, "demo": {"operator": {}}})
    run_file.update_demo(tmp_path, {"removed": True})
    assert run_file.read(tmp_path) == {"processes": {}}
    run_file.update_demo(tmp_path, {"operator": {"email": "o"}, "member": {}, "api_keys": {}, "people": {}})
    assert run_file.read(tmp_path)["demo"] == {"operator": {"email": "o"}, "member": {}, "api_keys": {}}


def test_a_command_uses_the_servers_of_a_running_console_unless_variables_are_set(tmp_path):
    run_file.write(tmp_path, {"database_url": "postgresql://here", "redis_url": "redis://here"})
    variables = {"REDIS_URL": "redis://mine"}
    run_file.use_servers_of_running_console(tmp_path, variables)
    assert variables == {"REDIS_URL": "redis://mine", "DATABASE_URL": "postgresql://here"}
