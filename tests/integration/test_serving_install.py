"""Serving without the training libraries: the requirements, the image, the unit and the manifest that ship."""

import argparse
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

from recbole_mind.cli import serve
from recbole_mind.config import loading
from recbole_mind.serving.http.schema import limits
from tests import ROOT
from tests.support.serving import JSON, Running
from tests.support.waiting import HANG

PRODUCTION = ROOT / "properties" / "production"
TRAINING = ("torch", "recbole", "ray", "pandas", "scipy", "matplotlib", "sklearn", "hyperopt", "pyarrow")
DOCUMENTED = "pip install -c constraints.txt -r requirements-serve.txt && pip install --no-deps ."


def dockerfile():
    """The stages of the Dockerfile: each a list of an instruction and its arguments."""
    text = re.sub(r"\\\n", " ", (PRODUCTION / "Dockerfile").read_text())
    stages = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if not line.startswith("#"):
            name, _, rest = line.partition(" ")
            stages += [[]] if name == "FROM" else []
            stages[-1].append((name, rest.strip()))
    return stages


def entry():
    """What the image starts, and how it is asked whether it lives."""
    (start,) = (json.loads(rest) for name, rest in dockerfile()[-1] if name == "ENTRYPOINT")
    (check,) = (json.loads(rest.partition("CMD")[2]) for name, rest in dockerfile()[-1] if name == "HEALTHCHECK")
    return start, check


def options_of(command):
    """The settings and options of a command line of serve, as the command itself reads them."""
    parser = argparse.ArgumentParser()
    serve.COMMAND.add_to(parser.add_subparsers())
    known, rest = parser.parse_known_args(command)
    return known, limits(loading.parse_arguments(rest))


def test_the_requirements_name_no_training_library():
    lines = (ROOT / "requirements-serve.txt").read_text().splitlines()
    named = [re.match(r"[\w.-]+", line)[0] for line in lines if line and not line.startswith("#")]
    assert named == sorted(named)
    assert not set(named) & {*TRAINING, "scikit-learn"}
    pinned = {line.partition("==")[0].lower().replace("_", "-") for line in (ROOT / "constraints.txt").open()}
    assert set(named) <= pinned
    assert DOCUMENTED in (ROOT / "docs" / "production.md").read_text()
    assert DOCUMENTED in (ROOT / "requirements-serve.txt").read_text()


def test_the_image_runs_as_nobody_and_installs_what_is_documented():
    build, final = dockerfile()
    ran = " && ".join(rest for name, rest in build if name == "RUN" and "pip" in rest)
    assert ran.replace("/opt/recbole-mind/bin/", "").replace("--no-cache-dir ", "") == DOCUMENTED
    instructions = dict(final)
    assert instructions["USER"] == "10001:10001"
    assert all("slim" in rest for stage in (build, final) for name, rest in stage if name == "FROM")
    start, check = entry()
    known, _ = options_of(start[1:])
    assert (known.host, known.port, known.folder) == ("0.0.0.0", 8000, "/store")
    assert f":{known.port}/health" in check[-1]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for name, rest in build:
        if name == "COPY":
            assert all(f"!{source}" in ignored for source in rest.split()[:-1])


def test_the_unit_is_a_hardened_one(tmp_path):
    text = (PRODUCTION / "recbole-mind.service").read_text()
    (start,) = re.findall(r"^ExecStart=(.*)$", text, re.M)
    known, set_to = options_of(shlex.split(start)[1:])
    assert known.api_key_file
    stops = int(re.search(r"^TimeoutStopSec=(\d+)$", text, re.M)[1])
    assert stops > set_to.drain_seconds + set_to.shutdown_seconds
    assert int(re.search(r"^LimitNOFILE=(\d+)$", text, re.M)[1]) > 2 * set_to.max_connections
    assert "kill -HUP" in text
    for setting in ("NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "PrivateDevices=yes"):
        assert setting in text
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "recbole-mind.service"
    unit.write_text(text.replace("/opt/recbole-mind/bin/recbole-mind", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_manifest_probes_and_ends_in_time():
    documents = list(yaml.safe_load_all((PRODUCTION / "kubernetes.yaml").read_text()))
    (deployment,) = (each for each in documents if each["kind"] == "Deployment")
    (service,) = (each for each in documents if each["kind"] == "Service")
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    start, _ = entry()
    known, set_to = options_of([*start[1:], *container["args"]])
    assert service["metadata"]["name"] in known.allowed_host  # clients ask under its name
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["http"] == known.port
    probes = {name: container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    paths = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    assert all(probe["httpGet"]["port"] in ports for probe in probes.values())
    leaves = probes["readiness"]["periodSeconds"] * probes["readiness"]["failureThreshold"]
    assert set_to.drain_seconds > leaves + probes["readiness"]["timeoutSeconds"]
    assert pod["terminationGracePeriodSeconds"] >= set_to.drain_seconds + set_to.shutdown_seconds + 5
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}" in dict(dockerfile()[-1])["USER"]
    secure = container["securityContext"]
    assert secure["readOnlyRootFilesystem"] is True
    assert secure["allowPrivilegeEscalation"] is False
    assert secure["capabilities"] == {"drop": ["ALL"]}
    selected = service["spec"]["selector"].items()
    assert selected <= deployment["spec"]["template"]["metadata"]["labels"].items()


@pytest.mark.slow
def test_the_image_s_commands_make_an_environment_that_serves(two_bundles, tmp_path):
    home, source, bundle = tmp_path / "opt", tmp_path / "src", tmp_path / "bundle"
    source.mkdir()
    shutil.copytree(two_bundles[0], bundle)
    asked = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path / "x"), "threadpoolctl"]
    if subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("pip reaches no registry")
    for name, rest in dockerfile()[0]:  # what Docker would do
        if name == "COPY":
            *given, target = rest.split()
            for each in given:
                if (ROOT / each).is_dir():
                    shutil.copytree(ROOT / each, source / target, ignore=shutil.ignore_patterns("__pycache__"))
                else:
                    shutil.copy(ROOT / each, source)
        elif name == "RUN":
            command = rest.replace("/opt/recbole-mind", str(home)).replace("python -m", f"{sys.executable} -m")
            done = subprocess.run(command, shell=True, cwd=source, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
    code = f"import importlib.util as u; print([n for n in {TRAINING} if u.find_spec(n)])"
    done = subprocess.run([home / "bin/python", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    start, check = entry()
    given = {"/store": str(bundle), "--port=8000": "--port=0"}
    command = [str(home / "bin" / start[0]), *(given.get(word, word) for word in start[1:])]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}
    before = sorted(tmp_path.rglob("*"))
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd="/", env=environment | {"RECBOLE_MIND_API_KEY": "x" * 16}
    )
    try:
        said = ""
        while "listening at" not in said:
            said = process.stderr.readline()
            assert said.startswith("{"), said + process.stderr.read()
        port = int(re.search(r":(\d+)$", json.loads(said)["message"])[1])
        served = Running(port, headers={"X-API-Key": "x" * 16})
        assert len(served.post("/recall", {"history": ["i1", "i3"], "n": 5}, **JSON).json["items"]) == 5
        assert served.get("/version").json["package"]
        command = [home / "bin" / check[0], *(word.replace(":8000", f":{port}") for word in check[1:])]
        assert subprocess.run(command, capture_output=True).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANG) == 0
        assert subprocess.run(command, capture_output=True).returncode == 1
    finally:
        process.kill()
        process.communicate()
    assert sorted(tmp_path.rglob("*")) == before  # it writes nothing
