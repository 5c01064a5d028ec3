"""Rules about answers: every answer was true when it was given, and what it promised came about."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from payments.status import TROUBLE
from tests.chaos.end_state import EndState
from tests.chaos.history import AWAY, History, Json, Operation
from tests.chaos.observations import only_forward
from tests.chaos.state_rules import MONEY_MOVED
from tests.chaos.violation import Violation

ALLOWED: dict[str, set[int]] = {
    "sign up": {201, 409},
    "sign in": {200, 401},
    "sign out": {204},
    "who am i": {200},
    "list items": {200},
    "search": {200},
    "show item": {200},
    "list item": {201},
    "edit item": {200, 409},
    "withdraw item": {200},
    "place": {201, 409},
    "show order": {200},
    "list orders": {200},
    "list sales": {200},
    "cancel": {200, 409},
    "refund": {202, 409},
    "pay": {201, 402, 409},
    "list payments": {200},
    "list trouble": {200},
    "retry refund": {202, 409},
    "settle refund": {200, 409},
    "open gate": {201, 404},  # until tickets has heard of the event
    "list tickets": {200},
    "offer ticket": {200, 404, 409},
    "take back": {200},
    "accept ticket": {200, 409},
    "scan": {200},
    "send scans": {200},
    "fetch list": {200},
    "show door": {200},
}
"""Possible statuses of each kind of request, besides `AWAY`. Never 404: people ask for what exists."""

NOTHING_TAKEN = {"failed", "released"}
"""Of a payment whose buyer read that the card was declined: an authorization that came up later is released."""

REMEMBERED = {"sold_out", "item_paused", "hold_limit", "price_changed", "card_declined"}
"""Refusals that are repeated for the same Idempotency-Key."""


def allowed(history: History, _: EndState) -> Iterable[Violation]:
    """Every answer is one that the API documents."""
    for o in history.operations:
        if o.status not in AWAY and o.status not in ALLOWED[o.kind]:
            yield Violation("unexpected", _subject(o), f"{o.kind} was answered with {o.outcome}: {o.body}")


def listed(history: History, end: EndState) -> Iterable[Violation]:
    """Everyone who signed up exists, and every item that was put on sale is there."""
    for o in history.of("sign up"):
        if o.status == 201 and end.users.get(o.body["id"], {}).get("email") != o.about["email"]:
            yield Violation("lost", o.body["id"], "a user who signed up is not there")
    for o in history.of("list item"):
        if o.status == 201 and end.items.get(o.body["id"], {}).get("seller_id") != o.who:
            yield Violation("lost", o.body["id"], "an item that was put on sale is not there")


def placed(history: History, end: EndState) -> Iterable[Violation]:
    """Every order that was answered with 201 exists, as the answer showed it."""
    for o in history.of("place"):
        if o.status == 201:
            order = end.orders.get(o.body["id"], {})
            names = ("item_id", "quantity", "unit_price", "currency", "buyer_id")
            if any(order.get(name) != o.body[name] for name in names) or o.body["quantity"] != o.about["quantity"]:
                yield Violation("lost", o.body["id"], f"the order differs from the answer to its buyer: {order}")


def paid_for(history: History, end: EndState) -> Iterable[Violation]:
    """Every payment is what the answer to its buyer said."""
    by_key = {(p["buyer_id"], p.get("request_key")): p for p in end.payments.values()}
    for o in history.of("pay"):
        if o.status == 201:
            payment = end.payments.get(o.body["id"], {})
            if payment.get("order_id") != o.about["order_id"] or payment["amount"] != o.body["amount"]:
                yield Violation(
                    "lost", o.about["order_id"], f"payment {o.body['id']} differs from the answer to its buyer"
                )
            elif o.body["status"] == "captured" and payment["status"] not in MONEY_MOVED:
                yield Violation("lie", o.about["order_id"], f"the answer said that payment {o.body['id']} was captured")
        if o.status == 402 and by_key.get((o.who, o.key), {}).get("status") not in NOTHING_TAKEN:
            yield Violation("lie", o.about["order_id"], "the answer said that the card was declined")


def kept(history: History, end: EndState) -> Iterable[Violation]:
    """What an answer promised for later has happened."""
    for o in history.of("cancel", "refund"):
        order_id = o.about["order_id"]
        order = end.orders.get(order_id, {})
        status = order.get("status")
        match o.kind, o.status, o.code:
            case "cancel", 200, _:
                if o.body["status"] == "cancelled" and status != "cancelled":
                    yield Violation("lie", order_id, f"was cancelled, and is {status}")
                if o.body["status"] not in {"cancelled", "expired"}:
                    yield Violation("lie", order_id, f"cancelling was answered with {o.body['status']}")
            case "cancel", 409, _ if order.get("cancel_reason") == "payment_failed":
                pass  # Its payment was being taken, and the provider refused.
            case "cancel", 409, _ if status not in {"paid", "refunded"}:
                yield Violation("lie", order_id, f"the answer said that it was paid, and it is {status}")
            case "refund", 202, _ if end.payments.get(order.get("payment_id") or "", {}).get("status") in TROUBLE:
                pass  # The refund failed, or the buyer's bank has the money.
            case "refund", 202, _ if status != "refunded":
                yield Violation("lie", order_id, f"a refund was promised, and the order is {status}")


def same_again(history: History, _: EndState) -> Iterable[Violation]:
    """The same Idempotency-Key gets the same answer."""
    by_key: dict[tuple[str, str], list[Operation]] = defaultdict(list)
    for o in history.of("place", "pay"):
        if o.key and o.known:
            by_key[o.kind, o.key].append(o)
    for answers in by_key.values():
        counting = [o for o in answers if o.status == 201 or o.code in REMEMBERED]
        if not counting:
            continue
        first = counting[0]
        for o in answers:
            # A refusal before the first answer that counts may have been temporary: nothing was started.
            counts = o.sent > first.answered or o in counting
            if counts and (o.status, _answer(o)) != (first.status, _answer(first)):
                what = f"key {o.key} was answered with {first.outcome} {_answer(first)}, then {o.outcome} {_answer(o)}"
                yield Violation("two answers", _subject(o), what)


def possible(history: History, _: EndState) -> Iterable[Violation]:
    """No answer shows a negative number of units, or more than are on offer."""
    for o in history.of("show item", "list items", "search", "list item", "edit item", "withdraw item"):
        if o.status in {200, 201}:
            for item in o.body.get("items", [o.body]):
                if not 0 <= item["available"] <= item["quantity"]:
                    what = f"{o.kind} showed {item['available']} available of {item['quantity']}"
                    yield Violation("impossible", item["id"], what)


def complete(history: History, _: EndState) -> Iterable[Violation]:
    """A list of a buyer's orders has every order that an earlier answer showed."""
    mine: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for o in history.of("place"):
        if o.status == 201:
            mine[o.who].append((o.answered, o.body["id"]))
    for o in history.of("list orders"):
        if o.status == 200 and len(o.body["items"]) < 100:
            seen = {order["id"] for order in o.body["items"]}
            for answered, order_id in mine[o.who]:
                if answered < o.sent and order_id not in seen:
                    yield Violation("missing", order_id, f"operation {o.number} listed the buyer's orders without it")


def fair(history: History, end: EndState) -> Iterable[Violation]:
    """A payment is refused only because of another payment, a cancellation, or the end of the hold."""
    tries: dict[str, list[Operation]] = defaultdict(list)
    for o in history.of("pay", "cancel"):
        tries[o.about["order_id"]].append(o)
    for order_id, operations in tries.items():
        first = operations[0]
        order = end.orders.get(order_id)
        alone = len(operations) == 1 and first.code == "order_not_payable"
        if alone and order and first.answered < order["expires_at"].timestamp() - end.clocks_off:
            yield Violation("unfair", order_id, "the only payment for it was refused while the hold lasted")


def sessions(history: History, _: EndState) -> Iterable[Violation]:
    """Souk knows who is signed in, and nobody else."""
    signed_in: dict[str, bool] = defaultdict(lambda: True)
    for o in history.of("sign in", "sign out", "who am i"):
        if o.status in {200, 204} and o.who:
            if o.kind == "who am i" and bool(o.body["current_user"]) != signed_in[o.who]:
                yield Violation("lie", o.who, f"who am I, {'in' if signed_in[o.who] else 'out'}: {o.body}")
            signed_in[o.who] = o.kind == "sign in" if o.kind != "who am i" else signed_in[o.who]


def _answer(o: Operation) -> Json | str:
    return o.body if o.status == 201 else o.code


def _subject(o: Operation) -> str:
    body = o.body if isinstance(o.body, dict) else {}
    return str(o.about.get("order_id") or o.about.get("item_id") or body.get("id") or o.who)


RULES: tuple[Callable[[History, EndState], Iterable[Violation]], ...] = (
    allowed,
    listed,
    placed,
    paid_for,
    kept,
    same_again,
    possible,
    complete,
    fair,
    sessions,
    only_forward,
)
