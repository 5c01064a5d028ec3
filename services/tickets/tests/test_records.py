"""What tickets shows of itself to reconciliation: who was let in by which scan, and nobody's name or code."""

from typing import Any

from common.bus.connection import Bus
from common.records import RecordsPage, RecordsQuery
from tests.support.sessions import person

from .conftest import Venue


async def test_records_have_the_generation_of_each_ticket_and_every_scan_that_let_somebody_in(
    venue: Venue, bus_url: str
) -> None:
    kept, given = await venue.sold(2)
    north, south, cleo = await venue.gate("North"), await venue.gate("South"), person("Cleo")
    await venue.call("POST", f"/{given['id']}/transfer", venue.buyer, json={"email": "cleo@souk.test"})
    await venue.call("POST", "/accept", cleo, json={"token": await venue.link_token()})
    await venue.scan(kept["code"], north, "N", 1)
    offline = [venue.scanned(one["code"], south, "S", seq) for seq, one in enumerate((kept, given), 1)]
    await venue.call("POST", "/scans", json={"scans": offline})

    query = RecordsQuery(ids=[kept["order_id"]]).model_dump_json().encode()
    async with Bus.connected(bus_url, "audit") as bus:
        [row] = RecordsPage.model_validate_json(await bus.request("books.tickets.bookings", query)).rows

    one, other = row["tickets"]
    assert (one["unit"], one["generation"], by_device(one["admissions"]), one["strays"]) == (1, 1, ["N 1", "S 1"], [])
    assert (other["unit"], other["generation"], other["admissions"], by_device(other["strays"])) == (2, 2, [], ["S 2"])
    gates = {scan["gate_id"] for scan in (*one["admissions"], *other["strays"])}
    assert len(gates) == 2
    assert set(row) == {"id", "version", "sale", "returned", "tickets", "pending"}
    assert set(one) == {"unit", "generation", "admissions", "strays"}


def by_device(scans: list[dict[str, Any]]) -> list[str]:
    return [f"{scan['device']} {scan['seq']}" for scan in scans]
