"""An id or a token of white space alone fits the documents: it is nobody's, and no field that is missing."""

import pytest

from audit.dead_letters.routes import Replay
from common.http.paging import Body
from orders.routes import NewOrder
from payments.routes import NewPayment
from tickets.door.routes import GateToken, NewGate
from tickets.routes import Acceptance

BLANK = "\f"


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (NewOrder, {"item_id": BLANK}),
        (NewPayment, {"order_id": BLANK, "payment_method": BLANK}),
        (NewGate, {"item_id": BLANK, "name": "North"}),
        (GateToken, {"gate": BLANK}),
        (Acceptance, {"token": BLANK}),
        (Replay, {"ids": [BLANK]}),
    ],
)
def test_a_blank_id_is_one_that_is_not_there(kind: type[Body], given: dict[str, object]) -> None:
    assert kind.model_validate(given).model_dump(include=set(given)) == given
