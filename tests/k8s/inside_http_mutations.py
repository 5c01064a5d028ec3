"""Ways to have a service called in the clear, or to call anybody in its place."""

from collections.abc import Callable
from typing import Any

from tests.k8s.inside_http import ANNOTATION
from tests.k8s.objects import Object, Objects

Change = Callable[[Objects], Any]


def _container(objects: Objects, name: str) -> Object:
    return objects.service(name)


def _env(objects: Objects, name: str, variable: str) -> Object:
    [entry] = [one for one in _container(objects, name)["env"] if one["name"] == variable]
    found: Object = entry
    return found


def _mount(objects: Objects, name: str) -> Object:
    [mount] = [one for one in _container(objects, name)["volumeMounts"] if one["mountPath"] == "/etc/souk-tls"]
    found: Object = mount
    return found


def _volume(objects: Objects, name: str) -> Object:
    spec = objects.one("Deployment", name)["spec"]["template"]["spec"]
    [volume] = [one for one in spec["volumes"] if one["name"] == "certificate"]
    found: Object = volume["secret"]
    return found


def _names(objects: Objects, name: str) -> list[str]:
    found: list[str] = objects.one("Certificate", name)["spec"]["dnsNames"]
    return found


def _annotate(objects: Objects, name: str, value: str) -> None:
    objects.one("Ingress", "souk")["metadata"]["annotations"][f"{ANNOTATION}{name}"] = value


def _validation(objects: Objects, name: str) -> Object:
    found: Object = objects.one("BackendTLSPolicy", name)["spec"]["validation"]
    return found


def _endpoint(objects: Objects) -> Object:
    [found] = objects.one("PodMonitor", "services")["spec"]["podMetricsEndpoints"]
    endpoint: Object = found
    return endpoint


def _away(objects: Objects) -> Object:
    found: Object = objects.one("Middleware", "away-page")["spec"]["errors"]["service"]
    return found


def _transport(objects: Objects) -> Object:
    found: Object = objects.one("ServersTransport", "away")["spec"]
    return found


def _in(variant: str, change: Change) -> Change:
    change.__dict__["variant"] = variant
    return change


ROUTES, TRAEFIK, SEEN = "prod with gateway-api", "prod with gateway-api by traefik", "prod with observability"

HTTP_MUTATIONS: list[tuple[Change, str]] = [
    (lambda o: _container(o, "orders")["env"].remove(_env(o, "orders", "TLS_CERT_FILE")), "orders is called in the"),
    (lambda o: _container(o, "away")["env"].clear(), "away is called in the clear"),
    (lambda o: _env(o, "orders", "TLS_KEY_FILE").update(value="/tmp/tls.key"), "orders is called in the"),  # noqa: S108
    (lambda o: _container(o, "auth")["volumeMounts"].remove(_mount(o, "auth")), "auth has no certificate of its own"),
    (lambda o: _volume(o, "auth").update(secretName="items-tls"), "auth has no certificate of its own"),
    (lambda o: _mount(o, "auth").update(subPath="tls.crt"), "auth does not notice a new certificate"),
    (lambda o: _names(o, "auth").remove("auth"), "the certificate of auth is not for auth"),
    (lambda o: _names(o, "web").remove("any-service"), "the certificate of web is not for any-service"),
    (lambda o: _container(o, "items")["readinessProbe"]["httpGet"].pop("scheme"), "the readinessProbe asks in the"),
    (lambda o: _env(o, "web", "ITEMS_URL").update(value="http://items:8000"), "web: ITEMS_URL is in the clear"),
    (lambda o: _container(o, "web")["env"].remove(_env(o, "web", "SERVICES_CA_FILE")), "web: AUTH_URL trusts anybody"),
    (lambda o: _names(o, "tickets").clear(), "web: no certificate is for tickets"),
    (lambda o: o.remove(o.one("Certificate", "gateway")), "nobody outside the namespace can check"),
    (lambda o: _annotate(o, "backend-protocol", "HTTP"), "the Ingress has backend-protocol HTTP"),
    (lambda o: _annotate(o, "proxy-ssl-verify", "off"), "the Ingress has proxy-ssl-verify off"),
    (lambda o: _annotate(o, "proxy-ssl-name", "web"), "the Ingress has proxy-ssl-name web"),
    (lambda o: _annotate(o, "proxy-ssl-secret", "souk/web-tls"), "the Ingress has proxy-ssl-secret souk/web-tls"),
    (_in(ROUTES, lambda o: o.remove(o.one("BackendTLSPolicy", "web"))), "calls web and trusts anybody"),
    (_in(ROUTES, lambda o: _validation(o, "auth").update(hostname="web")), "calls auth and believes it is web"),
    (_in(ROUTES, lambda o: _validation(o, "auth")["caCertificateRefs"].clear()), "calls auth and trusts anybody"),
    (_in(TRAEFIK, lambda o: _away(o).pop("scheme")), "calls away in the clear"),
    (_in(TRAEFIK, lambda o: _away(o).pop("serversTransport")), "calls away and trusts anybody"),
    (_in(TRAEFIK, lambda o: _transport(o).update(insecureSkipVerify=True)), "calls away and believes it is anybody"),
    (_in(SEEN, lambda o: _endpoint(o).update(scheme="http")), "metrics are read in the clear"),
    (_in(SEEN, lambda o: _endpoint(o).pop("tlsConfig")), "metrics are read from anybody"),
]
