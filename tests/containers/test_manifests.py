"""The files for Kubernetes: valid by its schemas, and consistent with each other and with the images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.containers.engine import ROOT, run

yaml = pytest.importorskip("yaml", reason="pip install '.[containers]'")
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="pip install '.[containers]'")

KUBERNETES = ROOT / "compose" / "kubernetes"
FILES = sorted(path for path in KUBERNETES.rglob("*.yaml") if path.name != "kustomization.yaml")
PODS = ("StatefulSet", "Deployment")


def documents() -> Iterator[dict[str, Any]]:
    """Every object of the files."""
    for path in FILES:
        yield from yaml.safe_load_all(path.read_text(encoding="utf-8"))


def valid(text: str) -> int:
    """How many objects were checked against the newest published schemas, unknown fields being errors."""
    found = list(yaml.safe_load_all(text))
    for one in found:
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    return len(found)


def pods() -> list[tuple[str, dict[str, Any]]]:
    """(name, template) of whatever makes pods."""
    return [(one["metadata"]["name"], one["spec"]["template"]) for one in documents() if one["kind"] in PODS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(KUBERNETES).as_posix())
def test_schema(path: Path) -> None:
    assert valid(path.read_text(encoding="utf-8")) > 0


@pytest.mark.parametrize("name", ["base", "autoscaled"])
def test_kustomize(name: str, tmp_path: Path) -> None:
    """As the tool puts them together, names with hashes, labels and all."""
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize"]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build"]
    else:
        pytest.skip("neither kubectl nor kustomize is installed")
    shutil.copytree(KUBERNETES, tmp_path / "k")
    for secret in ("cluster", "api_tokens"):
        (tmp_path / "k" / "base" / "secrets" / secret).write_text("not a secret")
    assert valid(run([*command, str(tmp_path / "k" / name)])) >= 12


def test_selectors_select() -> None:
    labels = {name: template["metadata"]["labels"].items() for name, template in pods()}
    for one in documents():
        spec = one.get("spec", {})
        if one["kind"] in (*PODS, "PodDisruptionBudget"):
            selector = spec["selector"]["matchLabels"]
        elif one["kind"] == "Service":
            selector = spec["selector"]
        elif one["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        found = [name for name, given in labels.items() if selector.items() <= given]
        assert found, f"{one['kind']} {one['metadata']['name']} selects no pod"


def test_volumes_are_there() -> None:
    claims = {
        claim["metadata"]["name"]
        for one in documents()
        for claim in one.get("spec", {}).get("volumeClaimTemplates", ())
    }
    for name, template in pods():
        volumes = {volume["name"] for volume in template["spec"]["volumes"]}
        used = {
            mount["name"]
            for container in template["spec"]["containers"]
            for mount in container["volumeMounts"]
        }
        assert used - claims == volumes - claims, name


def test_no_more_rights_than_in_compose() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    stack = yaml.safe_load((ROOT / "compose" / "stack.yml").read_text(encoding="utf-8"))["services"]
    wanted = {"node": set(compose["worker"]["cap_add"]), "api": set()}
    for services in (compose, stack):
        for name, service in services.items():
            assert service["cap_drop"] == ["ALL"]
            assert service["read_only"] is True
            assert set(service.get("cap_add", ())) == wanted["api" if name == "api" else "node"]
    for _, template in pods():
        assert template["spec"]["automountServiceAccountToken"] is False
        for container in template["spec"]["containers"]:
            context = container["securityContext"]
            assert context["capabilities"]["drop"] == ["ALL"]
            assert set(context["capabilities"].get("add", ())) == wanted[container["name"]]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False


def test_the_autoscaler_scales_the_nodes() -> None:
    (scaler,) = (one for one in documents() if one["kind"] == "HorizontalPodAutoscaler")
    target = scaler["spec"]["scaleTargetRef"]
    (nodes,) = (one for one in documents() if one["kind"] == target["kind"])
    assert nodes["metadata"]["name"] == target["name"]
    assert scaler["spec"]["minReplicas"] == nodes["spec"]["replicas"] >= 3
