"""The catalogue that `make seed` lists, and the posters of it."""

from io import BytesIO

from PIL import Image

from infra.local.commands.catalogue import SELLERS, items_of, subject_of
from infra.local.commands.posters import HEIGHT, WIDTH, poster


def test_what_a_title_is_about_is_found_in_every_title() -> None:
    for seller in SELLERS:
        subjects = {subject.partition("{")[0] for subject, _ in seller.kind.subjects}
        for item in items_of(seller):
            subject = subject_of(seller.kind, str(item["title"]))
            assert any(subject.startswith(known) for known in subjects), item["title"]


def test_each_kind_has_its_poster_always_the_same_and_no_two_alike() -> None:
    kinds = list(dict.fromkeys(seller.kind for seller in SELLERS))

    first, again = [[poster(kind, "A subject", "A subject, A place, 1 May") for kind in kinds] for _ in range(2)]

    assert first == again
    assert len(set(first)) == len(kinds)
    for content in first:
        image = Image.open(BytesIO(content))
        assert (image.format, image.size) == ("JPEG", (WIDTH, HEIGHT))
