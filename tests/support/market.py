"""Things that belong to somebody, for tests of who may do what with them."""

import re
from collections.abc import Awaitable, Callable, Mapping

from common.ids import new_id
from tests.support.authenticator import Authenticator
from tests.support.calls import PICTURE, call
from tests.support.people import People, Person
from tests.support.shopping import becomes, ok, pay, place, sell, try_to_pay
from tests.support.waiting import eventually


class Market:
    """People, and things that belong to `owner`, made when an operation asks for them."""

    def __init__(self, people: People, owner: Person, seller: Person, operator: Person, site: str) -> None:
        self.site = site
        self.people, self.owner, self.seller, self.operator = people, owner, seller, operator
        self._makers: Mapping[str, Callable[[], Awaitable[str]]] = {
            "item_id": lambda: sell(owner, 9),
            "picture_id": self._picture,
            "order_id": self._order,
            "payment_id": self._payment,
            "session_id": self._session,
            "passkey_id": self._passkey,
            "ticket_id": self._ticket,
            "gate_id": self._gate,
        }

    async def made(self, name: str) -> str:
        """The id of something of the owner's, by the name of a parameter."""
        return await self._makers[name]()

    async def event(self) -> str:
        """The id of an event of the owner's, which tickets knows."""
        return await self._event(self.owner)

    async def paid_order(self) -> str:
        """The id of an order that the owner has paid."""
        order_id = await self._order()
        await pay(self.owner, order_id)
        await becomes(self.owner, order_id, "paid")
        return order_id

    async def known(self, operation: str) -> dict[str, str]:
        """What stands for the parameters and fields of this operation."""
        found = {"size": "small", "email": f"{new_id()}@souk.test", "new_email": f"{new_id()}@souk.test"}
        if operation == "POST /api/orders":
            item_id = await sell(self.seller, 9)
            await place(self.operator, item_id)  # Orders knows the item.
            return found | {"item_id": item_id}
        if operation == "POST /api/orders/{order_id}/refund":
            return found | {"order_id": await self.sale()}
        if operation == "POST /api/payments":
            order_id = await self._order()
            assert (await try_to_pay(self.operator, order_id)).status_code == 404  # Payments knows whose order it is.
            return found | {"order_id": order_id}
        if operation.endswith(("/api/tickets/gates", "/api/tickets/attendees")):
            return found | {"item_id": await self._event(self.owner)}
        if operation == "GET /api/tickets/pdf":
            return found | {"order_id": (await self._ticket()).partition("-")[0]}
        for name in re.findall(r"{(\w+)}", operation):
            if name in self._makers:
                found[name] = await self._makers[name]()
        if "picture_id" in found:
            found["item_id"] = self._pictured
        if operation.startswith("GET /api/audit/") and found.keys() & {"order_id", "payment_id", "item_id"}:
            await self._until_audit_knows(operation, found)
        return found

    async def _order(self) -> str:
        return str((await place(self.owner, await sell(self.seller, 9)))["id"])

    async def _payment(self) -> str:
        return str((await pay(self.owner, await self._order()))["id"])

    async def sale(self) -> str:
        """The id of an order that the owner has sold, and that is paid."""
        order_id = str((await place(self.seller, await sell(self.owner, 9)))["id"])
        await pay(self.seller, order_id)
        await becomes(self.seller, order_id, "paid")
        return order_id

    async def _picture(self) -> str:
        self._pictured = await sell(self.owner, 9)
        path, headers = f"/api/items/{self._pictured}/pictures", {"Content-Type": "image/png"}
        item = ok(await self.owner.http.post(path, content=PICTURE, headers=headers), 201)
        return str(item["pictures"][0]["id"])

    async def _session(self) -> str:
        sessions = (await self.owner.http.get("/api/users/sessions")).json()
        return str(next(one["id"] for one in sessions if one["current"]))

    async def _passkey(self) -> str:
        http, device = self.owner.http, Authenticator(self.site)
        options = ok(await http.post("/api/users/passkeys/options"))
        body = {"credential": device.create(options), "name": "Phone"}
        return str(ok(await http.post("/api/users/passkeys", json=body), 201)["id"])

    async def _event(self, seller: Person) -> str:
        body = {"title": "A concert", "price": 4500, "currency": "EUR", "quantity": 9, "kind": "event"}
        body |= {"starts_at": "2027-05-01T18:00:00Z"}
        item_id = str(ok(await seller.http.post("/api/items", json=body), 201)["id"])

        async def known() -> bool:
            answer = await seller.http.get("/api/tickets/gates", params={"item_id": item_id})
            return answer.status_code == 200

        await eventually(known, 30, why=f"tickets does not know {item_id}")
        return item_id

    async def _ticket(self) -> str:
        order_id = str((await place(self.owner, await self._event(self.seller)))["id"])
        await pay(self.owner, order_id)

        async def issued() -> list[dict[str, str]]:
            answer = await self.owner.http.get("/api/tickets", params={"order_id": order_id})
            return list(answer.json())

        [ticket] = await eventually(issued, 30, why=f"order {order_id} has no ticket")
        return ticket["id"]

    async def _gate(self) -> str:
        body = {"item_id": await self._event(self.owner), "name": "North door"}
        return str(ok(await self.owner.http.post("/api/tickets/gates", json=body), 201)["id"])

    async def _until_audit_knows(self, operation: str, known: Mapping[str, str]) -> None:
        async def told() -> bool:
            return (await self.operator.http.request(**call(operation, known))).status_code == 200

        await eventually(told, 30, why=f"audit does not know {known}")
