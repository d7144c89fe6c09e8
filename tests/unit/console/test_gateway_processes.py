"""Several gateways share one port; each is a process of its own."""

from console import env
from console.machine import console_processes


def test_the_gateways_are_numbered_from_the_second(tmp_path):
    environment = env.read({"GATEWAY_PROCESSES": "3"})
    processes = console_processes.build_console_processes(environment, {}, tmp_path)
    names = [name for name in processes if name.startswith("gateway")]
    assert names == ["gateway", "gateway-2", "gateway-3"] == console_processes.list_gateways(environment)
    assert {processes[name].command for name in names} == {processes["gateway"].command}
    assert processes["gateway-2"].environment["CONSOLE_PROCESS"] == "gateway-2"


def test_a_further_gateway_is_ready_when_it_says_so_itself(tmp_path):
    processes = console_processes.build_console_processes(env.read({"GATEWAY_PROCESSES": "2"}), {}, tmp_path)
    assert not processes["gateway-2"].is_ready()
    (tmp_path / "gateway-2.ready").touch()
    assert processes["gateway-2"].is_ready()
