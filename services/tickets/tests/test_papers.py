"""What a ticket looks like: its code, its QR, a calendar's entry, a page to print. Without a server."""

import io
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pypdf import PdfReader

from common.ids import new_id
from common.order_numbers import as_typed, readable_number
from tests.support.sessions import Tokens
from tickets.codes import LENGTH, Claim, TicketCodes
from tickets.papers import Paper, calendar, pdf, qr, svg

CLAIM = Claim(new_id(), 2, new_id(), 3)
START = datetime(2027, 5, 1, 18, tzinfo=UTC)


def keys() -> Tokens:
    return Tokens(Ed25519PrivateKey.generate())


def paper(**different: object) -> Paper:
    code = TicketCodes(keys().private_pem).code(CLAIM)
    fields = {"ticket_id": "o-1", "number": "7Q4K-M2XD-1", "title": "A concert", "code": code, "starts_at": START}
    return Paper(**{**fields, **different})  # type: ignore[arg-type]


def test_a_code_says_what_was_signed_and_fits_a_small_qr() -> None:
    codes = TicketCodes(keys().private_pem)
    code = codes.code(CLAIM)

    assert codes.read(code) == CLAIM
    assert len(code) == LENGTH
    made = qr(code)
    assert (made.version, made.error, made.mode) == (7, "M", "alphanumeric")
    assert made.symbol_size(border=0) == (45, 45)


def test_codes_of_an_earlier_key_stay_valid() -> None:
    old, new = keys(), keys()
    code = TicketCodes(old.private_pem).code(CLAIM)

    assert TicketCodes(new.private_pem, old.jwk_set).read(code) == CLAIM
    assert TicketCodes(new.private_pem).read(code) is None


@pytest.mark.parametrize("wrong", ["{}", "[]", "nonsense", '{"keys": [{"kty": "oct", "k": "AAAA"}]}'])
def test_what_is_no_set_of_keys_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - which one depends on what is wrong
        TicketCodes(keys().private_pem, wrong)


def test_a_number_is_read_however_it_is_typed() -> None:
    number = readable_number(CLAIM.order_id)

    for typed in (
        f"{number}-12",
        f" {number.lower()} 12 ",
        f"{number}12".replace("-", ""),
        f"{number}-12".replace("0", "o"),
    ):
        assert as_typed(typed) == (number, 12, ""), typed
    for typed in (f"{number}-12-X70L", f"{number}12x7ol", f"{number} 12 x-70-1"):
        assert as_typed(typed) == (number, 12, "X701"), typed
    wrong_checks = (f"{number}-1-1XXX", f"{number}-1-XXXU", f"{number}-1-XXX", f"{number}-1-XXXXX")
    for wrong in (
        "",
        "12",
        number,
        f"{number}-",
        f"{number}-x",
        f"{number}-1234567",
        "U" * 9,
        "1" * 400,
        *wrong_checks,
    ):
        assert as_typed(wrong) is None, wrong


def test_an_svg_has_no_size_of_its_own_and_is_dark_on_light() -> None:
    picture = svg(paper().code).decode()

    assert 'viewBox="0 0 53 53"' in picture
    assert "width=" not in picture.partition(">")[0]
    assert "#fff" in picture


def test_a_calendar_gets_the_event_without_what_its_title_could_add() -> None:
    entry = calendar(
        paper(title="Rock; and\nDTSTART:20200101T000000Z, roll " + "ü" * 60, venue="The opera", city="Zürich"), START
    )

    lines = entry.split("\r\n")
    assert [line for line in lines if line.startswith("DTSTART")] == ["DTSTART:20270501T180000Z"]
    assert "DTEND:20270501T210000Z" in lines
    assert "LOCATION:The opera\\, Zürich" in lines
    assert all(len(line.encode()) <= 75 for line in lines)
    unfolded = entry.replace("\r\n ", "")
    assert "SUMMARY:Rock\\; and\\nDTSTART:20200101T000000Z\\, roll " + "ü" * 60 in unfolded


def test_a_pdf_has_a_page_for_each_ticket_and_the_letters_of_its_title() -> None:
    printed = pdf([paper(), paper(title="Łódź Œster-Žižková Ελλάδα Київ, 東京 and 🎫", venue="x" * 200)], "de")

    first, second = [page.extract_text() for page in PdfReader(io.BytesIO(printed)).pages]
    assert "A concert" in first
    assert "Samstag, 1. Mai 2027, 18:00" in first
    assert "Łódź Œster-Žižková Ελλάδα Київ, ?? and ?" in second
