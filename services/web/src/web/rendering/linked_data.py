"""What search engines read about an item (schema.org/Product, schema.org/Offer)."""

from common.i18n import major_units
from web.clients.models import Item, Sale


def linked_data(item: Item, summary: str, origin: str) -> dict[str, object]:
    """The JSON-LD of an item. `origin` is the address of the site, without a slash at its end."""
    address = f"{origin}/items/{item.id}"
    offer: dict[str, object] = {
        "@type": "Offer",
        "url": address,
        "price": str(major_units(item.price, item.currency)),
        "priceCurrency": item.currency,
        "availability": f"https://schema.org/{_availability(item)}",
    }
    if item.seller_name:
        offer["seller"] = {"@type": "Person", "name": item.seller_name}
    found: dict[str, object] = {
        "@context": "https://schema.org",
        "@type": "Product",
        "name": item.title,
        "description": summary,
        "url": address,
        "offers": offer,
    }
    if item.pictures:
        found["image"] = [f"{origin}{picture.large}" for picture in item.pictures]
    return found


def _availability(item: Item) -> str:
    if item.listed and item.available and item.sale is Sale.EARLY:
        return "PreSale"
    return "InStock" if item.left else "SoldOut"
