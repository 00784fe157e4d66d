"""What is shipped for deployment is accepted by the code that it deploys, and names what is there."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.config import Config, parse_config
from llm_slo import main

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CONFIGS = sorted(DEPLOY.rglob("llm-slo.yaml"))
COMPOSE = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())
MANIFESTS = [
    manifest
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
    if path.name != "llm-slo.yaml"
    for manifest in yaml.safe_load_all(path.read_text())
]


def config_of(directory: str) -> Config:
    path = DEPLOY / directory / "llm-slo.yaml"
    return parse_config(path.read_text(), str(path))


@pytest.mark.parametrize("directory", ["compose", "kubernetes"])
def test_configurations_are_accepted(directory: str) -> None:
    assert "0.0.0.0:4318" == config_of(directory).listen.otlp_http


def test_the_image_holds_every_package_that_is_installed() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    text = (DEPLOY / "Containerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for word in line.split()}
    assert set(wheel["only-include"]) <= copied


def test_every_command_that_is_run_is_one() -> None:
    run = [service["command"] for service in COMPOSE["services"].values() if service.get("image") == "llm-slo"]
    run += [
        container["args"]
        for manifest in MANIFESTS
        if manifest["kind"] in ("StatefulSet", "Deployment")
        for container in manifest["spec"]["template"]["spec"]["containers"]
    ]
    assert len(run) == 5
    assert {words[0] for words in run} <= set(main.commands)


@pytest.mark.parametrize(
    "manifest",
    [one for one in MANIFESTS if one["kind"] in ("StatefulSet", "Deployment")],
    ids=lambda one: one["metadata"]["name"],
)
def test_probes_and_services_name_ports_that_the_configuration_opens(manifest: dict[str, Any]) -> None:
    listen = config_of("kubernetes").listen
    opened = {int(address.rpartition(":")[2]) for address in (listen.otlp_grpc, listen.otlp_http, listen.web, listen.alerter)}
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert set(ports.values()) <= opened
    assert container["livenessProbe"]["httpGet"]["port"] in ports
    assert int(manifest["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"]) in ports.values()


def test_the_discoverys_account_may_do_what_the_discovery_does() -> None:
    (role,) = (one for one in MANIFESTS if one["kind"] == "ClusterRole")
    assert [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}] == role["rules"]
    assert config_of("kubernetes").discovery.kubernetes


def test_the_kustomization_names_every_manifest() -> None:
    (kustomization,) = (one for one in MANIFESTS if one["kind"] == "Kustomization")
    files = {path.name for path in (DEPLOY / "kubernetes").glob("*.yaml")}
    assert files - {"kustomization.yaml", "llm-slo.yaml", "secret.example.yaml"} == set(kustomization["resources"])


def test_every_mount_of_compose_is_there() -> None:
    binds = [
        volume.split(":")[0]
        for service in COMPOSE["services"].values()
        for volume in service.get("volumes", ())
        if isinstance(volume, str) and volume.startswith(".")
    ]
    assert binds
    assert all((DEPLOY / "compose" / bind).exists() for bind in binds)
