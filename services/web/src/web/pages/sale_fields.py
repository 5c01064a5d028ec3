"""The part of a seller's form that says from when and until when something is sold."""

from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

from web.clients.models import Item
from web.pages.event_fields import LOCAL, time_zones, usual_time_zone
from web.pages.forms import Fields
from web.rendering.i18n import I18n

FIELDS = ("sale_starts_at", "sale_ends_at")


def typed(item: Item, i18n: I18n) -> dict[str, str]:
    """The fields as they are for an item, in the time zone of the event; for a thing, in the visitor's usual one."""
    zone = ZoneInfo((item.timezone or "UTC") if item.is_event else usual_time_zone(i18n))
    moments = {name: getattr(item, name) for name in FIELDS}
    return {name: when.astimezone(zone).strftime(LOCAL) for name, when in moments.items() if when}


def read(form: Fields, i18n: I18n) -> tuple[dict[str, object], dict[str, str]]:
    """The fields for the items service, and the errors in those that web itself must parse."""
    chosen = form.text("timezone") if form.text("kind") == "event" else ""
    zone = ZoneInfo(chosen if chosen in time_zones() else usual_time_zone(i18n))
    fields: dict[str, object] = {}
    errors = {}
    for name in FIELDS:
        text = form.text(name).strip()
        try:
            fields[name] = datetime.fromisoformat(text).replace(tzinfo=zone).isoformat() if text else None
        except ValueError:
            errors[name] = i18n.gettext("Enter a date and a time.")
    return fields, errors


def refusals(i18n: I18n) -> Mapping[str, str]:
    """What to say about a field that items has refused."""
    return {
        "sale_starts_at": i18n.gettext("Enter a date and a time."),
        "sale_ends_at": i18n.gettext("The sale has to end after it has started."),
    }
