"""Rules about selling: who may have how much, at which price, and what a seller's word is worth."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable

from tests.chaos.end_state import EndState
from tests.chaos.history import History, Json
from tests.chaos.item_versions import Version, versions_of_items
from tests.chaos.order_times import OrderTimes, Span, attempts, times_of_orders
from tests.chaos.stock_history import linearizable
from tests.chaos.violation import Violation


def no_false_sold_out(history: History, end: EndState) -> Iterable[Violation]:
    """Nobody is told `sold_out` while the units were free for the whole request."""
    orders = _by_item(times_of_orders(history, end))
    versions = versions_of_items(history, end)
    for attempt in attempts(history):
        if attempt.outcome == "sold_out":
            item, wanted = attempt.first.about["item_id"], attempt.first.about["quantity"]
            taken = sum(o.order["quantity"] for o in orders[item] if o.has_units.touches(attempt.span))
            on_sale = min((v.on_sale for v in _in_force(versions.get(item, {}), attempt.span)), default=0)
            if wanted <= on_sale - taken:
                what = f"sold_out was the answer for {wanted} of {on_sale} units, of which {taken} at most were taken"
                yield Violation("sold out too early", item, what)


def offered(history: History, end: EndState) -> Iterable[Violation]:
    """Title, price and currency of an order are one version of its item, in force when it was placed."""
    versions = versions_of_items(history, end)
    for item, orders in _by_item(times_of_orders(history, end)).items():
        newest: list[tuple[float, int]] = []
        for one in sorted(orders, key=lambda one: one.placed.earliest):
            known = max((number for answered, number in newest if answered < one.placed.earliest), default=0)
            matching = [
                v.number
                for v in _in_force(versions.get(item, {}), one.placed)
                if v.listed and v.number >= known and v.offer == _offer_of(one.order)
            ]
            if matching:
                newest.append((one.placed.latest, min(matching)))
            else:
                what = f"it was placed at {_offer_of(one.order)}, which was not the offer then"
                yield Violation("offer", one.order["_id"], what)


def expected_price(history: History, _: EndState) -> Iterable[Violation]:
    """No order is placed at another price than the buyer named, and `price_changed` names another one."""
    for o in history.of("place"):
        expected = o.about.get("expected_unit_price")
        if expected is not None and o.status == 201 and o.body["unit_price"] != expected:
            yield Violation(
                "price", o.body["id"], f"the price is {o.body['unit_price']}, the buyer expected {expected}"
            )
        if o.code == "price_changed" and o.body["unit_price"] == expected:
            yield Violation("price", o.about["item_id"], f"price_changed was the answer, and the price is {expected}")


def bound(history: History, end: EndState) -> Iterable[Violation]:
    """No order is placed once a withdrawal binds, or a pause that is not over."""
    versions = versions_of_items(history, end)
    for one in times_of_orders(history, end):
        known = versions.get(one.order["item_id"], {}).values()
        resumed = max((v.number for v in known if v.listed and v.since <= one.placed.latest), default=0)
        for version in known:
            if not version.listed and version.number > resumed and version.binding < one.placed.earliest:
                what = "it was placed after the withdrawal, or the pause, had bound the seller"
                yield Violation("withdrawn", one.order["_id"], what)


def kept(history: History, end: EndState) -> Iterable[Violation]:
    """What a seller was told of an edit or a withdrawal is what the item became, and stays."""
    versions = versions_of_items(history, end)
    for o in history.of("edit item", "withdraw item"):
        if o.status != 200:
            continue
        item, body = end.items.get(o.body["id"], {}), o.body
        told = versions[body["id"]][body["version"]]
        if item.get("version", 0) < body["version"]:
            what = f"version {body['version']} was the answer, and the item ends at {item.get('version')}"
            yield Violation("lost", body["id"], what)
        elif o.kind == "withdraw item" and item["status"] != "withdrawn":
            yield Violation("lost", body["id"], "a withdrawn item is still on sale")
        if (told.offer, told.quantity) != ((body["title"], body["price"], body["currency"]), body["quantity"]):
            yield Violation("lie", body["id"], f"version {body['version']} is not what the answer showed")


def hold_limit(history: History, end: EndState) -> Iterable[Violation]:
    """No buyer holds more than the limit of an item, and nobody is refused because of a limit that is not reached."""
    orders: dict[tuple[str, str], list[OrderTimes]] = defaultdict(list)
    for one in times_of_orders(history, end):
        orders[one.order["buyer_id"], one.order["item_id"]].append(one)
    for held in orders.values():
        for one in held:
            at = one.placed.latest
            units = sum(o.order["quantity"] for o in held if o.placed.latest <= at < o.hold_ends)
            if units > end.hold_limit:
                yield Violation("hold limit", one.order["_id"], f"the buyer holds {units} of at most {end.hold_limit}")
    for attempt in attempts(history):
        if attempt.outcome == "hold_limit":
            mine = orders[attempt.first.who, attempt.first.about["item_id"]]
            units = sum(o.order["quantity"] for o in mine if o.has_units.touches(attempt.span))
            if units + attempt.first.about["quantity"] <= end.hold_limit:
                what = f"hold_limit was the answer for a buyer who held {units} at most"
                yield Violation("hold limit", attempt.first.about["item_id"], what)


def one_order_for_each_attempt(history: History, end: EndState) -> Iterable[Violation]:
    """A buyer has no more orders of an item than keys and requests without one, also where no answer came."""
    wanted: Counter[tuple[str, str, int]] = Counter()
    for attempt in attempts(history):
        if attempt.outcome in {"", "placed"}:
            wanted[attempt.first.who, attempt.first.about["item_id"], attempt.first.about["quantity"]] += 1
    placed = Counter((o["buyer_id"], o["item_id"], o["quantity"]) for o in end.orders.values())
    for (buyer, item, quantity), orders in placed.items():
        if orders > (most := wanted[buyer, item, quantity]):
            what = f"{buyer} has {orders} orders of {quantity} of it, from {most} requests that may have placed one"
            yield Violation("too many orders", item, what)


def _in_force(versions: dict[int, Version], span: Span) -> list[Version]:
    """The versions by which orders may have sold in this time."""
    ended = {
        v.number: min((w.binding for w in versions.values() if w.number > v.number), default=span.latest)
        for v in versions.values()
    }
    return [v for v in versions.values() if v.since <= span.latest and ended[v.number] >= span.earliest]


def _offer_of(order: Json) -> tuple[str, int, str]:
    return order["item_title"], order["unit_price"], order["currency"]


def _by_item(orders: Iterable[OrderTimes]) -> dict[str, list[OrderTimes]]:
    by_item: dict[str, list[OrderTimes]] = defaultdict(list)
    for one in orders:
        by_item[one.order["item_id"]].append(one)
    return by_item


RULES: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (
    linearizable,
    no_false_sold_out,
    offered,
    expected_price,
    bound,
    kept,
    hold_limit,
    one_order_for_each_attempt,
)
