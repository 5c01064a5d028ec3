"""What search engines read about an item (schema.org/Product, schema.org/Event, schema.org/Offer)."""

from datetime import datetime
from zoneinfo import ZoneInfo

from common.i18n import major_units
from web.clients.models import Item, Sale


def linked_data(item: Item, summary: str, origin: str) -> dict[str, object]:
    """The JSON-LD of an item. `origin` is the address of the site, without a slash at its end."""
    address = f"{origin}/items/{item.id}"
    person = {"@type": "Person", "name": item.seller_name} if item.seller_name else None
    offer: dict[str, object] = {
        "@type": "Offer",
        "url": address,
        "price": str(major_units(item.price, item.currency)),
        "priceCurrency": item.currency,
        "availability": f"https://schema.org/{_availability(item)}",
        "seller": person,
    }
    found: dict[str, object] = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": item.title,
        "description": summary,
        "url": address,
        "offers": _known(offer),
        "image": [f"{origin}{picture.large}" for picture in item.pictures] or None,
    }
    if item.starts_at and (item.venue or item.city):  # Without a place, it would be no valid Event to them.
        found |= {"@type": "Event", "organizer": person, **_event(item, item.starts_at)}
    return _known(found)


def _event(item: Item, starts_at: datetime) -> dict[str, object]:
    address = {"@type": "PostalAddress", "addressLocality": item.city} if item.city else None
    return {
        "startDate": _there(starts_at, item.timezone),
        "endDate": _there(item.ends_at, item.timezone),
        "doorTime": _there(item.doors_at, item.timezone),
        "eventStatus": "https://schema.org/EventScheduled",
        "eventAttendanceMode": "https://schema.org/OfflineEventAttendanceMode",
        "location": _known({"@type": "Place", "name": item.venue or item.city, "address": address}),
    }


def _there(moment: datetime | None, zone: str | None) -> str | None:
    """The local time where it takes place, with its offset (ISO 8601)."""
    return moment.astimezone(ZoneInfo(zone or "UTC")).isoformat() if moment else None


def _known(fields: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _availability(item: Item) -> str:
    if item.listed and item.available and item.sale is Sale.EARLY:
        return "PreSale"
    return "InStock" if item.left else "SoldOut"
