"""The part of a seller's form that says when and where an event is."""

from collections.abc import Mapping
from datetime import datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

from babel.core import get_global

from common.events import ItemKind
from web.clients.models import Item
from web.pages.forms import Fields
from web.rendering.i18n import I18n

MOMENTS = ("starts_at", "ends_at", "doors_at")
PLACES = ("venue", "city")
FIELDS = ("kind", *MOMENTS, *PLACES, "timezone")

AREAS = ("Africa", "America", "Antarctica", "Arctic", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
MAIN = {"US": "America/New_York", "CA": "America/Toronto", "AU": "Australia/Sydney"}
"""Where most people of a country with several time zones live."""

LOCAL = "%Y-%m-%dT%H:%M"
"""How a browser writes and reads the value of a field for date and time."""


@cache
def time_zones() -> list[str]:
    """The time zones to choose from."""
    return ["UTC", *sorted(zone for zone in available_timezones() if zone.startswith(tuple(f"{a}/" for a in AREAS)))]


def usual_time_zone(i18n: I18n) -> str:
    """The time zone that a visitor is likely to want."""
    territory = i18n.locale.territory or {"de": "DE"}.get(i18n.language, "GB")
    zones = [MAIN[territory]] if territory in MAIN else get_global("territory_zones").get(territory) or ["UTC"]
    return str(zones[0]) if zones[0] in time_zones() else "UTC"


def blank(i18n: I18n) -> dict[str, str]:
    """The fields of a new item."""
    return {**dict.fromkeys(FIELDS, ""), "kind": ItemKind.THING, "timezone": usual_time_zone(i18n)}


def typed(item: Item, i18n: I18n) -> dict[str, str]:
    """The fields as they are for an item."""
    fields = blank(i18n) | {"kind": item.kind, "venue": item.venue or "", "city": item.city or ""}
    if item.kind == ItemKind.EVENT:
        zone = item.timezone or "UTC"
        moments = {name: getattr(item, name) for name in MOMENTS}
        local = {name: when.astimezone(ZoneInfo(zone)).strftime(LOCAL) for name, when in moments.items() if when}
        fields |= {"timezone": zone, **local}
    return fields


def read(form: Fields, i18n: I18n) -> tuple[dict[str, object], dict[str, str]]:
    """The fields for the items service, and the errors in those that web itself must parse. A thing has none."""
    if form.text("kind") != ItemKind.EVENT:
        return {}, {}
    zone = form.text("timezone")
    if zone not in time_zones():
        return {}, {"timezone": i18n.gettext("Choose a time zone.")}
    fields: dict[str, object] = {"kind": ItemKind.EVENT, "timezone": zone}
    errors = {}
    for name in MOMENTS:
        text = form.text(name).strip()
        try:
            local = datetime.fromisoformat(text) if text else None
            fields[name] = local.replace(tzinfo=ZoneInfo(zone)).isoformat() if local else None
        except ValueError:
            errors[name] = _moment_error(i18n)
    if not form.text("starts_at").strip():
        errors["starts_at"] = _moment_error(i18n)
    for name in PLACES:
        fields[name] = form.text(name).strip() or None
    return fields, errors


def refusals(i18n: I18n) -> Mapping[str, str]:
    """What to say about a field that items has refused."""
    place = i18n.gettext("Use up to 200 characters.")
    return {
        "starts_at": _moment_error(i18n),
        "ends_at": i18n.gettext("It has to end after it has started."),
        "doors_at": i18n.gettext("Doors have to open before it starts."),
        "venue": place,
        "city": place,
        "timezone": i18n.gettext("Choose a time zone."),
    }


def _moment_error(i18n: I18n) -> str:
    return i18n.gettext("Enter a date and a time.")
