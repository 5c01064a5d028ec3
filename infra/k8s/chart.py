"""`make chart`: a Helm chart out of what kustomize renders of the overlay for production.

Each template is an object as it was rendered, in which the fields below, and only they, are values of the chart. So the
chart says what kustomize says, until somebody sets a value.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from infra.k8s.helm import helm
from infra.k8s.rendered import Object, copied, render
from infra.services import ROOT

NOTES = Path(__file__).parent / "chart-notes.txt"

ROUTES: Mapping[str, tuple[str, ...]] = {
    "ingress": (),
    "gateway-api": ("gateway-api",),
    "gateway-api-traefik": ("gateway-api", "gateway-api-traefik"),
}
"""The components that each choice of `routes` adds."""

ENV = "spec.template.spec.containers.[name=service].env.[name={}].valueFrom.secretKeyRef.name"
CLAIMS = "spec.volumeClaimTemplates.*.spec"
OPERATED_CLAIMS = f"spec.statefulSet.{CLAIMS}"

SETTINGS = (
    ("ingressClass", "Ingress/souk", "spec.ingressClassName"),
    ("gatewayClass", "Gateway/souk", "spec.gatewayClassName"),
    ("issuer.kind", "Certificate/souk", "spec.issuerRef.kind"),
    ("issuer.name", "Certificate/souk", "spec.issuerRef.name"),
    ("secrets.smtp", "Deployment/notifications", ENV.format("SMTP_URL")),
    ("secrets.smtp", "Deployment/notifications", ENV.format("MAIL_FROM")),
    ("secrets.stripe", "Deployment/payments", ENV.format("STRIPE_SECRET_KEY")),
    ("secrets.stripe", "Deployment/payments", ENV.format("STRIPE_WEBHOOK_SECRET")),
    ("secrets.stripePublishable", "Deployment/web", ENV.format("STRIPE_PUBLISHABLE_KEY")),
    ("storage.nats", "StatefulSet/nats", f"{CLAIMS}.resources.requests.storage"),
    ("storage.natsStore", "StatefulSet/nats", "spec.template.spec.containers.*.env.[name=MAX_FILE_STORE].value"),
    ("storage.redis", "StatefulSet/redis", f"{CLAIMS}.resources.requests.storage"),
    ("storage.mongo", "MongoDBCommunity/*", f"{OPERATED_CLAIMS}.resources.requests.storage"),
    ("replicas.{name}.min", "HorizontalPodAutoscaler/*", "spec.minReplicas"),
    ("replicas.{name}.max", "HorizontalPodAutoscaler/*", "spec.maxReplicas"),
    ("replicas.{name}.min", "ScaledObject/*", "spec.minReplicaCount"),
    ("replicas.{name}.max", "ScaledObject/*", "spec.maxReplicaCount"),
)
"""A value, the objects, and the fields that have it: as in kustomize's `fieldPaths`."""

STORAGE_CLASSES = (("StatefulSet/*", CLAIMS), ("MongoDBCommunity/*", OPERATED_CLAIMS))
"""What gets a storage class, where one is set."""

COMMENTS = {
    "host": "Where people find Souk.",
    "image": "Images are <repository>/<service>:<tag>.",
    "routes": f"One of {', '.join(ROUTES)}.",
    "issuer": "Of cert-manager.",
    "secrets": "The Secrets that have SMTP_URL and MAIL_FROM, Stripe's secret and webhook keys, its publishable key.",
    "storage": "Of each member. natsStore is at most nine tenths of nats. An empty class is the cluster's default.",
    "replicas": "At least two, so that one may go.",
}

LEFT, RIGHT = "⟦", "⟧"
WHOLE = (f" | quote{RIGHT}", f" | int{RIGHT}", f"storage class{RIGHT}")
"""How the marks of a whole value end."""


class Chart:
    """The templates and values of a chart."""

    def __init__(self, *components: str) -> None:
        """Render the overlay for production with components that it does not have of itself, for each way in."""
        with tempfile.TemporaryDirectory() as folder:
            k8s = copied(Path(folder))
            rendered = {routes: render(k8s, "prod", *components, *more) for routes, more in ROUTES.items()}
        first = rendered["ingress"]
        self.host: str = _named(first, "Ingress/souk")["spec"]["rules"][0]["host"]
        self.namespace: str = _named(first, "Ingress/souk")["metadata"]["namespace"]
        [image] = [one["image"] for one in _containers(_named(first, "Deployment/web"))]
        repository, _, self.version = re.split(r"/(web):", image)
        self.values: Object = {"host": self.host, "image": {"repository": repository, "tag": self.version}}
        self.values |= {"routes": "ingress", "storage": {"class": ""}}
        self.templates: dict[str, str] = {}
        for key, by_routes in _grouped(rendered).items():
            self.templates[f"{key.replace('/', '-').lower()}.yaml"] = "---\n".join(
                self._conditional(key, routes, one) for one, routes in by_routes
            )

    def write(self, folder: Path) -> None:
        """Write the chart into a folder, which is created anew."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "templates").mkdir(parents=True)
        for name, text in self.templates.items():
            (folder / "templates" / name).write_text(text)
        shutil.copyfile(NOTES, folder / "templates/NOTES.txt")
        (folder / "Chart.yaml").write_text(yaml.safe_dump(self._about(), sort_keys=False))
        (folder / "values.yaml").write_text("\n".join(_commented(key, value) for key, value in self.values.items()))
        schema = _schema(self.values)
        schema["properties"]["routes"]["enum"] = list(ROUTES)
        (folder / "values.schema.json").write_text(json.dumps(schema, indent=2))

    def _about(self) -> Object:
        text = "An event-driven marketplace on which nothing is sold twice"
        return {"apiVersion": "v2", "name": "souk", "description": text} | dict.fromkeys(
            ("version", "appVersion"), self.version
        )

    def _conditional(self, key: str, routes: list[str], one: Object) -> str:
        text = self._template(key, one)
        if len(routes) == len(ROUTES):
            return text
        wanted = " ".join(f'"{name}"' for name in routes)
        return f"{{{{- if has .Values.routes (list {wanted}) }}}}\n{text}{{{{- end }}}}\n"

    def _template(self, key: str, rendered: Object) -> str:
        one = _each_string(deepcopy(rendered), self._spelled)
        for value, of, path in SETTINGS:
            for holder, field in _fields(one, path) if _is(key, of) else ():
                where = value.format(name=key.partition("/")[2])
                self._remember(where, holder[field])
                holder[field] = f"{LEFT}.Values.{where} | {'int' if isinstance(holder[field], int) else 'quote'}{RIGHT}"
        for of, path in STORAGE_CLASSES:
            for holder, field in _fields(one, path) if _is(key, of) else ():
                holder[field]["storageClassName"] = f"{LEFT}storage class{RIGHT}"
        return _optional(yaml.dump(one, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000))

    def _spelled(self, text: str) -> str:
        """A string in which host, image and namespace are those of the release, and braces are no template's."""
        text = text.replace("{{", f"{LEFT}`{{{{`{RIGHT}")
        image = self.values["image"]
        if found := re.fullmatch(rf"{image['repository']}/([a-z-]+):{re.escape(image['tag'])}", text):
            return f"{LEFT}.Values.image.repository{RIGHT}/{found[1]}:{LEFT}.Values.image.tag{RIGHT}"
        text = text.replace(self.host, f"{LEFT}.Values.host{RIGHT}")
        text = re.sub(rf"^{self.namespace}/(?=[a-z-]+-tls$)", f"{LEFT}.Release.Namespace{RIGHT}/", text)  # a Secret
        return text.replace(f".{self.namespace}.svc", f".{LEFT}.Release.Namespace{RIGHT}.svc")

    def _remember(self, where: str, default: Any) -> None:
        *path, last = where.split(".")
        holder = self.values
        for step in path:
            holder = holder.setdefault(step, {})
        if holder.setdefault(last, default) != default:
            raise ValueError(f"{where} is {holder[last]} in one object, and {default} in another")


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as such, and in quotes what would need them once its marks are values."""

    def represent_str(self, text: str) -> yaml.ScalarNode:
        marked = LEFT in text and not text.endswith(WHOLE)
        return self.represent_scalar(
            "tag:yaml.org,2002:str", text, style="|" if "\n" in text else '"' if marked else None
        )


_Dumper.add_representer(str, _Dumper.represent_str)


def _grouped(rendered: Mapping[str, list[Object]]) -> dict[str, list[tuple[Object, list[str]]]]:
    """By kind and name: each form of an object, with the routes that have it. Helm makes the namespace itself."""
    found: dict[str, list[tuple[Object, list[str]]]] = {}
    for routes, objects in rendered.items():
        for one in objects:
            if one["kind"] == "Namespace":
                continue
            one["metadata"]["namespace"] = f"{LEFT}.Release.Namespace{RIGHT}"
            forms = found.setdefault(f"{one['kind']}/{one['metadata']['name']}", [])
            same = next((names for form, names in forms if form == one), None)
            if same is None:
                forms.append((one, [routes]))
            else:
                same.append(routes)
    return found


def _named(objects: list[Object], key: str) -> Object:
    [found] = [one for one in objects if f"{one['kind']}/{one['metadata']['name']}" == key]
    return found


def _containers(workload: Object) -> list[Object]:
    found: list[Object] = workload["spec"]["template"]["spec"]["containers"]
    return found


def _is(key: str, of: str) -> bool:
    return key == of or (of.endswith("/*") and key.startswith(of[:-1]))


def _fields(holder: Any, path: str) -> Iterator[tuple[Any, Any]]:
    """Yield each field that a path of kustomize's form leads to, as what holds it and its key."""
    step, _, rest = path.partition(".")
    if isinstance(holder, list):
        label, _, wanted = step.strip("[]").partition("=")
        keys: list[Any] = [i for i, one in enumerate(holder) if step == "*" or one.get(label) == wanted]
    else:
        keys = [step] if step in holder else []
    for key in keys:
        if rest:
            yield from _fields(holder[key], rest)
        else:
            yield holder, key


def _each_string(value: Any, change: Any) -> Any:
    if isinstance(value, dict):
        return {key: _each_string(one, change) for key, one in value.items()}
    if isinstance(value, list):
        return [_each_string(one, change) for one in value]
    return change(value) if isinstance(value, str) else value


def _optional(text: str) -> str:
    """The text with its marks as Helm writes them, and with storage classes only where one is set."""
    text = re.sub(
        rf"^( *)storageClassName: {LEFT}storage class{RIGHT}$",
        r"\1{{- with .Values.storage.class }}\n\1storageClassName: {{ . | quote }}\n\1{{- end }}",
        text,
        flags=re.MULTILINE,
    )
    return text.replace(LEFT, "{{ ").replace(RIGHT, " }}")


def _commented(key: str, value: Any) -> str:
    comment = f"# {COMMENTS[key]}\n" if key in COMMENTS else ""
    return comment + yaml.safe_dump({key: value}, sort_keys=False)


def _schema(value: Any) -> Object:
    """The JSON Schema of values: of the types that they have, and no others than they are."""
    if isinstance(value, dict):
        # Helm adds `global` to the values of every chart.
        properties = {key: _schema(one) for key, one in value.items()} | ({"global": {}} if "host" in value else {})
        return {"type": "object", "additionalProperties": False, "properties": properties}
    return {"type": "integer", "minimum": 1} if isinstance(value, int) else {"type": "string"}


if __name__ == "__main__":
    chart = Chart(*os.environ.get("COMPONENTS", "").split())
    target = ROOT / ".chart/souk"
    chart.write(target)
    subprocess.run([helm(), "package", target, "--destination", target.parent], check=True)
