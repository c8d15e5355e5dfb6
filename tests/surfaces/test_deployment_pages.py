"""The units and manifests of the pages on deployment are what systemd, Kubernetes and the command line understand (I37)."""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from perdure.cli.application import make_app
from perdure.cli.commands import command_of
from perdure.cli.exits import Exit
from perdure.cli.supervising import HOPELESS, Plan
from perdure.config import Settings
from perdure.model.duration import MICROSECONDS, span_us
from tests.surfaces.processes import Shell
from tests.surfaces.test_processes import free_port, get

ROOT = Path(__file__).parents[2]
SETTINGS = {f"PERDURE_{name.upper()}" for name in Settings.__struct_fields__}


def block(page: str, language: str) -> str:
    """Give the only block of this language in a page."""
    text = (ROOT / "docs" / "howto" / page).read_text()
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return str(found)


def plan_of(command: list[str]) -> Plan:
    """Give the plan of a ``perdure serve …``, read as the command line reads it; raises for what it does not know."""
    program, *arguments = command
    assert Path(program).name == "perdure"
    _, bound, _ = make_app(command_of(arguments)).parse_args(arguments, exit_on_error=False, print_error=False)
    plan: Plan = bound.arguments.get("plan", Plan())
    plan.check()
    return plan


def seconds(span: str) -> float:
    return span_us(span) / MICROSECONDS


def test_the_systemd_unit_is_one_that_systemd_and_the_command_line_understand(tmp_path: Path) -> None:
    text = block("deploy-with-systemd.md", "ini")
    # Systemd allows a key several times.
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",), interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read_string(text)
    service, variables = unit["Service"], dict(re.findall(r"^Environment=(\w+)=(.*)$", text, re.MULTILINE))
    command = shlex.split(service["ExecStart"])
    plan = plan_of(command)
    assert (plan.processes, plan.health_port) == (4, 8080)
    assert variables.keys() <= SETTINGS
    assert float(service["TimeoutStopSec"]) > seconds(variables["PERDURE_DRAIN"])
    assert {int(code) for code in service["RestartPreventExitStatus"].split()} == set(HOPELESS)
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    # The program and the folder are those of the reader's machine.
    path = tmp_path / "perdure.service"
    path.write_text(text.replace(command[0], sys.executable).replace(service["WorkingDirectory"], str(tmp_path)))
    done = subprocess.run([program, "verify", "--man=no", str(path)], capture_output=True, text=True, timeout=50, check=False)
    # Units that others brought are loaded with it, and have faults of their own.
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if "perdure" in line or str(tmp_path) in line]
    assert (done.returncode, about_it) == (0, [])


def containers(manifest: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    spec = manifest["spec"]["template"]["spec"]
    (schema,), (node,) = spec["initContainers"], spec["containers"]
    return schema, node


def test_the_kubernetes_manifest_fits_together() -> None:
    manifest = yaml.safe_load(block("deploy-on-kubernetes.md", "yaml"))
    spec = manifest["spec"]
    assert (manifest["apiVersion"], manifest["kind"]) == ("apps/v1", "Deployment")
    assert spec["selector"]["matchLabels"] == spec["template"]["metadata"]["labels"]
    schema, node = containers(manifest)
    assert schema["command"] == ["perdure", "schema", "apply"]
    assert command_of(schema["command"][1:]) is not None
    assert schema["image"] == node["image"]
    assert schema["envFrom"] == node["envFrom"]
    plan, variables = plan_of(node["command"]), {entry["name"]: entry.get("value") for entry in node["env"]}
    assert {name for name in variables if name.startswith("PERDURE_")} <= SETTINGS
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] > seconds(variables["PERDURE_DRAIN"])
    # The kubelet asks by the pod's address.
    assert plan.health_host == "0.0.0.0"
    for probe in (node["readinessProbe"], node["livenessProbe"]):
        assert probe["httpGet"]["port"] == plan.health_port
        assert probe["timeoutSeconds"] <= probe["periodSeconds"]


@pytest.mark.covers("I37")
def test_a_node_that_is_started_as_the_manifest_says_answers_its_probes_and_drains(shell: Shell) -> None:
    _, node = containers(yaml.safe_load(block("deploy-on-kubernetes.md", "yaml")))
    drain = next(entry["value"] for entry in node["env"] if entry["name"] == "PERDURE_DRAIN")
    program, verb, file, *options = node["command"]
    assert (program, verb) == ("perdure", "serve")
    port = free_port()
    options[options.index("--health-port") + 1] = str(port)
    service = shell.serve(shell.write(file, (shell.folder / "shop.py").read_text()), *options, PERDURE_DRAIN=drain)
    service.line("serving")
    assert [get(port, node[probe]["httpGet"]["path"])[0] for probe in ("readinessProbe", "livenessProbe")] == [200, 200]
    service.process.terminate()
    assert service.end() == Exit.OK


def test_an_option_that_the_command_line_does_not_know_is_found() -> None:
    with pytest.raises(Exception, match="--helth-port"):
        plan_of(["perdure", "serve", "flows.py", "--helth-port", "8080"])
