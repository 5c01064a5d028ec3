"""The environment variables of a service's container, as the kubelet would fill them in."""

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from infra.services import NAMES
from tests.k8s.code_facts import settings_of
from tests.k8s.objects import Object, Objects, Pod

NOT_OURS = {"FORWARDED_ALLOW_IPS", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"}
"""Read by uvicorn and by OpenTelemetry."""

OUTSIDE = {"PUBLIC_URL", "SMTP_URL"}
"""They lead out of the cluster, or to the mailbox."""

_REFERENCE = re.compile(r"\$\((\w+)\)")


class Unresolved(ValueError):
    """A variable that the kubelet could not fill in."""


def environment(objects: Objects, secrets: Objects) -> Iterator[str]:
    """Every service has the variables that it needs and no unknown one, and starts with their values.

    `secrets` contains every Secret and ConfigMap that is referred to.
    """
    for name in NAMES:
        for pod in (pod for pod in objects.services if pod.name == name):
            yield from _of_service(name, pod, objects, secrets)


def _of_service(name: str, pod: Pod, objects: Objects, secrets: Objects) -> Iterator[str]:
    [container] = pod.containers
    try:
        variables = resolved(container, pod, secrets)
    except Unresolved as error:
        yield f"{name}: {error}"
        return
    kind = settings_of(name)
    wanted = {field.upper() for field in kind.model_fields}
    helpers = {used for entry in container["env"] for used in _REFERENCE.findall(entry.get("value", ""))}
    for unknown in sorted(set(variables) - wanted - helpers - NOT_OURS):
        yield f"{name} does not know {unknown}"
    required = {field.upper() for field, known in kind.model_fields.items() if known.is_required()}
    for missing in sorted(required - set(variables)):
        yield f"{name} needs {missing}"
    if not required <= set(variables):
        return
    given: dict[str, Any] = {variable.lower(): value for variable, value in variables.items() if variable in wanted}
    try:
        kind(**given)
    except ValidationError as error:
        yield f"{name} would not start: {error}"
    for variable, value in variables.items():
        if variable.endswith("_URL") and variable not in OUTSIDE and not _leads_somewhere(value, objects):
            yield f"{name}: nothing is at {variable} {urlsplit(value).hostname}:{urlsplit(value).port}"


def resolved(container: Object, pod: Pod, secrets: Objects) -> Mapping[str, str]:
    """The variables with every reference filled in. Raises `Unresolved` if one cannot be."""
    variables: dict[str, str] = {}
    for entry in container["env"]:
        match entry.get("valueFrom"):
            case {"secretKeyRef": reference}:
                value = _looked_up("Secret", reference, secrets)
            case {"configMapKeyRef": reference}:
                value = _looked_up("ConfigMap", reference, secrets)
            case {"fieldRef": {"fieldPath": "metadata.labels['app']"}}:
                value = pod.labels["app"]
            case {"fieldRef": {"fieldPath": "metadata.name"}}:
                value = f"{pod.name}-0"
            case None:
                unset = set(_REFERENCE.findall(entry["value"])) - set(variables)
                if unset:
                    raise Unresolved(f"{entry['name']} uses {', '.join(unset)} before it is set")
                value = _REFERENCE.sub(lambda found: variables[found[1]], entry["value"])
            case other:
                raise Unresolved(f"{entry['name']} comes from {other}")
        variables[entry["name"]] = value
    return variables


def _looked_up(kind: str, reference: Object, secrets: Objects) -> str:
    name, key = reference["name"], reference["key"]
    bare = re.sub(r"-[a-z0-9]{10}$", "", name)
    try:
        data = secrets.one(kind, bare)["data"]
        return str(data[key])
    except (KeyError, ValueError):
        raise Unresolved(f"{kind} {name} has no {key}") from None


def _leads_somewhere(url: str, objects: Objects) -> bool:
    parts = urlsplit(url)
    own = [s for s in objects.of("Service") if s["metadata"]["name"] == parts.hostname]
    made = [f"{one['metadata']['name']}-svc" for one in objects.of("MongoDBCommunity")]  # by the operator
    return any(parts.port == port["port"] for s in own for port in s["spec"]["ports"]) or (
        parts.hostname in made and parts.port == 27017
    )
