"""What a seller may do with an item, without any server."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from common.events import Currency, ItemChanged, ItemListed, ItemStatus, ItemWithdrawn
from items.domain import (
    COPIES,
    MOST_PICTURES,
    Changes,
    Item,
    ItemIsWithdrawn,
    NotOwner,
    PictureNotFound,
    TooManyPictures,
)

SELLER = "seller"


def lamp(saved: bool = True) -> Item:
    item = Item.offer(
        seller_id=SELLER,
        title="A lamp",
        description="Old.",
        price=1250,
        currency=Currency.EUR,
        quantity=5,
        now=datetime(2026, 11, 22, 18, 0, 0, 123456, tzinfo=UTC),
    )
    if saved:
        item.saved()
    return item


def test_a_new_item_tells_all_of_itself() -> None:
    item = lamp(saved=False)

    [listed] = item.recorded
    assert listed == ItemListed(
        item_id=item.id,
        item_version=1,
        seller_id=SELLER,
        title="A lamp",
        description="Old.",
        price=1250,
        currency=Currency.EUR,
        quantity=5,
        status=ItemStatus.LISTED,
    )
    assert item.available == 5
    assert item.created_at.microsecond == 123000  # what Mongo gives back


def test_an_edit_tells_the_whole_item_at_its_next_version() -> None:
    item = lamp()

    item.edit(SELLER, {"price": 999, "title": "A brass lamp"})

    [changed] = item.recorded
    assert isinstance(changed, ItemChanged)
    assert (changed.item_version, changed.price, changed.title, changed.quantity) == (2, 999, "A brass lamp", 5)


@pytest.mark.parametrize("changes", [{}, {"price": 1250}, {"title": "A lamp", "currency": Currency.EUR}])
def test_an_edit_that_changes_nothing_tells_nothing(changes: Changes) -> None:
    item = lamp()

    item.edit(SELLER, changes)

    assert item.recorded == ()


@pytest.mark.parametrize("changes", [{"price": 0}, {"price": 12.5}, {"quantity": 100_001}, {"title": ""}])
def test_no_edit_makes_an_item_that_could_not_have_been_offered(changes: Changes) -> None:
    item = lamp()

    with pytest.raises(ValidationError):
        item.edit(SELLER, changes)

    assert item == lamp().model_copy(update={"id": item.id})


def test_withdrawing_twice_is_once() -> None:
    item = lamp()

    item.withdraw(SELLER)
    item.withdraw(SELLER)

    [withdrawn] = item.recorded
    assert isinstance(withdrawn, ItemWithdrawn)
    assert withdrawn.status is ItemStatus.WITHDRAWN


def test_a_withdrawn_item_stays_as_it_is() -> None:
    item = lamp()
    item.withdraw(SELLER)

    with pytest.raises(ItemIsWithdrawn):
        item.edit(SELLER, {"price": 1})
    with pytest.raises(ItemIsWithdrawn):
        item.add_picture(SELLER, "picture")
    with pytest.raises(ItemIsWithdrawn):
        item.remove_picture(SELLER, "picture")

    assert item.price == 1250


def test_pictures_stay_in_the_order_in_which_they_came_and_are_told() -> None:
    item = lamp()

    for picture in ("a", "b", "c"):
        item.add_picture(SELLER, picture)
    item.remove_picture(SELLER, "b")

    assert [e.pictures for e in item.recorded if isinstance(e, ItemChanged)] == [
        ("a",),
        ("a", "b"),
        ("a", "b", "c"),
        ("a", "c"),
    ]
    assert item.pictures == ("a", "c")


def test_an_item_has_only_so_many_pictures() -> None:
    item = lamp()
    for number in range(MOST_PICTURES):
        item.add_picture(SELLER, str(number))

    with pytest.raises(TooManyPictures):
        item.add_picture(SELLER, "one more")

    assert "one more" not in item.pictures


def test_a_picture_that_is_not_there_cannot_be_removed() -> None:
    with pytest.raises(PictureNotFound):
        lamp().remove_picture(SELLER, "nothing")


def test_somebody_else_may_do_nothing_not_even_learn_that_it_is_withdrawn() -> None:
    item = lamp()
    item.withdraw(SELLER)

    with pytest.raises(NotOwner):
        item.edit("thief", {"price": 1})
    with pytest.raises(NotOwner):
        item.withdraw("thief")
    with pytest.raises(NotOwner):
        item.add_picture("thief", "picture")
    with pytest.raises(NotOwner):
        item.remove_picture("thief", "picture")


def test_the_copies_of_others_facts_are_written_with_a_new_item_only() -> None:
    new, old = lamp(saved=False).to_document(), lamp().to_document()

    assert new["available"] == 5
    assert old.keys() == new.keys() - COPIES
