"""Twelve invented sellers and what they sell: the same few hundred items every time."""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

ITEMS_PER_SELLER = 26


@dataclass(frozen=True)
class Kind:
    """How things of one kind are called and described."""

    category: str
    title: str
    """A template over subject, place and date. Without a date, it is of things; else of events."""
    about: Sequence[str]
    """Templates over the subject's own sentence."""
    subjects: Sequence[tuple[str, str]]
    """A name, and a sentence on it."""
    price: tuple[int, int]
    """From and to, in whole euros."""
    quantities: Sequence[int]


@dataclass(frozen=True)
class Seller:
    """Who sells: one kind of thing, in one currency."""

    name: str
    email: str
    kind: Kind
    city: str
    timezone: str
    places: Sequence[str]
    currency: str
    per_euro: int = 1
    minor_units: int = 100


CONCERTS = Kind(
    category="music",
    title="{subject}, {place}, {date}",
    about=(
        "{detail} Doors at 19:00, music from 20:00. Standing, with a few seats along the wall.",
        "{detail} One long set and whatever the audience still asks for. Free cloakroom.",
        "{detail} The bar opens an hour before. Under sixteen only with an adult.",
        "{detail} Ear plugs at the door for a coin in the tin. Step-free entrance on the left.",
    ),
    subjects=(
        ("The Paper Lanterns", "Indie folk for five voices and one very old harmonium."),
        ("Mira Holt Quartet", "Modern jazz that still swings, from the album Low Tide."),
        ("Kobalt & Klee", "Electronic duo with modular synthesisers and live projections."),
        ("Sons of the Ferryman", "Sea shanties, loud guitars, and a tuba."),
        ("Ensemble Aurora", "Schubert's string quintet and two first performances."),
        ("Doña Tormenta", "Cumbia and boleros with a nine-piece band."),
        ("Night Bus to Brno", "Post-punk from three cities and one rehearsal room."),
        ("Lakeside Big Band", "Eighteen players, the great songs of the forties."),
        ("Odile Marchetti", "Songs at the piano, half of them new."),
    ),
    price=(18, 85),
    quantities=(40, 80, 120, 250, 400),
)
THEATRE = Kind(
    category="theatre",
    title="{subject}: {place}, {date}",
    about=(
        "{detail} Two hours, one interval. Latecomers are let in after the first scene.",
        "{detail} Ninety minutes without an interval. Talk with the company afterwards.",
        "{detail} Surtitles in English. The house opens an hour before curtain.",
        "{detail} A relaxed performance: house lights half up, come and go as you need.",
    ),
    subjects=(
        ("The Lighthouse Keeper's Ledger", "A debt, a storm, and a lighthouse that answers back."),
        ("Twelfth Night", "Shakespeare's comedy in a hotel lobby, with a live band."),
        ("Last Train to Anywhere", "Four strangers and a timetable that keeps changing."),
        ("The Seagull", "Chekhov, close enough to hear them breathe."),
        ("What the Beekeeper Knew", "A detective story told by a village choir."),
        ("Antigone, Again", "The old tragedy as a town-council meeting."),
        ("A Room with Too Many Doors", "Farce. Eleven doors, six actors, no mercy."),
        ("Paper Moon Puppets", "For everyone over five: shadows, string and a small dragon."),
    ),
    price=(12, 68),
    quantities=(20, 36, 60, 90, 140),
)
SPORT = Kind(
    category="sports",
    title="{subject}, {place}, {date}",
    about=(
        "{detail} Unreserved seat in the family stand; gates open ninety minutes before.",
        "{detail} Covered seat, long side. Bags larger than A4 stay outside.",
        "{detail} Standing behind the goal, scarf recommended.",
        "{detail} The ticket is valid on trams and buses of the city all day.",
    ),
    subjects=(
        ("City Derby, Women's League", "The last meeting ended four all."),
        ("Ice Hockey: Foxes v Kestrels", "Play-off semi-final, third game."),
        ("Night of the Mile", "Six races over one mile, the fastest at dusk."),
        ("Basketball: Harbour Towers v Union", "Both unbeaten at home this season."),
        ("Six-Day Cycling, Day {number}", "Madison, keirin and a brass band in the middle."),
        ("Wheelchair Rugby International", "Four nations, one weekend."),
        ("Cup Quarter-Final", "The amateurs' first since 1987."),
    ),
    price=(9, 75),
    quantities=(100, 250, 500, 900, 1500),
)
FESTIVALS = Kind(
    category="arts",
    title="{subject}, {place}, {date}",
    about=(
        "{detail} Day ticket. Tents may be pitched from Friday noon.",
        "{detail} Weekend pass with camping; showers and quiet field included.",
        "{detail} Evening ticket from 17:00. Cups carry a deposit, dogs stay at home.",
        "{detail} Family pass for two adults and up to three children.",
    ),
    subjects=(
        ("Meadow Sounds", "Three small stages, no headliners, good bread."),
        ("Festival of Short Films", "Eighty films under twenty minutes, in four old cinemas."),
        ("Harvest & Cider Fair", "Forty presses, one village, plenty of straw."),
        ("Lantern Week", "Light installations along the river, best after nine."),
        ("Comic & Zine Weekend", "Two hundred tables, drawing lessons all day."),
        ("Long Table Food Festival", "One table of three hundred metres and everyone at it."),
        ("Brass on the Barges", "Eleven bands float past. Bring a cushion."),
    ),
    price=(15, 190),
    quantities=(150, 300, 600, 1200),
)
WORKSHOPS = Kind(
    category="talks",
    title="{subject}, {place}, {date}",
    about=(
        "{detail} Six people at most, materials and lunch included.",
        "{detail} For beginners: you need nothing but an apron.",
        "{detail} Two evenings, three hours each. You take home what you make.",
        "{detail} Some practice helps; tell us beforehand what you would like to work on.",
    ),
    subjects=(
        ("Bookbinding in a Day", "From folded sheets to a sewn, cased-in notebook."),
        ("Sourdough from Scratch", "Your own starter, three loaves, and why they rise."),
        ("Wheel Throwing", "Centre, open, pull: four bowls, glazed and fired."),
        ("Letterpress Cards", "Set type by hand and print fifty cards on a 1912 press."),
        ("Mend Your Denim", "Sashiko, patches, and darning that is meant to be seen."),
        ("Carve a Spoon", "Green birch, two knives, ten fingers kept."),
        ("Natural Dyes", "Onion skins, madder and walnut on wool and linen."),
        ("Repair Your Bicycle", "Brakes, gears, wheels: your own bike on the stand."),
    ),
    price=(35, 160),
    quantities=(4, 6, 8, 10, 12),
)
VINTAGE = Kind(
    category="home",
    title="{subject}, {place}",
    about=(
        "{detail} Cleaned and checked; small marks of age, see the pictures. Collection or post.",
        "{detail} From a house clearance, one owner. Smoke-free.",
        "{detail} Restored in our own workshop, with a year's guarantee.",
        "{detail} Sold as found: it works, but asks for a patient owner.",
    ),
    subjects=(
        ("Teak sideboard", "Three drawers, two sliding doors, 180 cm."),
        ("Portable typewriter", "New ribbon, all keys strike evenly."),
        ("Rangefinder camera", "Shutter true at all speeds, meter reads a stop low."),
        ("Enamel coffee pot", "A litre, one chip at the spout."),
        ("Wool blanket", "Heavy, undyed, moth-free."),
        ("Desk lamp", "Rewired, takes any modern bulb, stays where you put it."),
        ("Record player", "New belt and needle, a little warm in tone."),
        ("School wall map", "Linen-backed, 160 by 190 cm, borders of another time."),
        ("Set of dining chairs", "Beech, newly caned seats."),
        ("Mantel clock", "Eight-day movement, strikes the hours, can be silenced."),
    ),
    price=(14, 640),
    quantities=(1, 1, 1, 2, 3, 6),
)

SELLERS = (
    Seller(
        "Harbour Hall",
        "tickets@harbourhall.test",
        CONCERTS,
        "Hamburg",
        "Europe/Berlin",
        ("Harbour Hall", "Harbour Cellar"),
        "EUR",
    ),
    Seller(
        "Blue Note Cellar",
        "door@bluenotecellar.test",
        CONCERTS,
        "Chicago",
        "America/Chicago",
        ("Blue Note Cellar", "The Annexe"),
        "USD",
    ),
    Seller(
        "Klub Tovarna",
        "klub@tovarna.test",
        CONCERTS,
        "Praha",
        "Europe/Prague",
        ("Tovarna", "Tovarna Courtyard"),
        "CZK",
        per_euro=25,
    ),
    Seller(
        "Old Exchange Theatre",
        "box@oldexchange.test",
        THEATRE,
        "Bristol",
        "Europe/London",
        ("Main House", "Studio", "Rooftop"),
        "GBP",
    ),
    Seller(
        "Théâtre du Canal",
        "billets@canal.test",
        THEATRE,
        "Paris",
        "Europe/Paris",
        ("Grande Salle", "Petite Salle"),
        "EUR",
    ),
    Seller(
        "Union Arena",
        "seats@unionarena.test",
        SPORT,
        "Köln",
        "Europe/Berlin",
        ("Union Arena", "Hall 2"),
        "EUR",
    ),
    Seller(
        "Northside Athletics",
        "club@northside.test",
        SPORT,
        "Melbourne",
        "Australia/Melbourne",
        ("Northside Oval", "Northside Hall"),
        "AUD",
        per_euro=2,
    ),
    Seller(
        "Fields & Co.",
        "hello@fieldsandco.test",
        FESTIVALS,
        "Bristol",
        "Europe/London",
        ("Long Meadow", "Old Orchard"),
        "GBP",
    ),
    Seller(
        "Sommarö",
        "info@sommaro.test",
        FESTIVALS,
        "Stockholm",
        "Europe/Stockholm",
        ("Sommarö", "Norra Kajen"),
        "SEK",
        per_euro=11,
    ),
    Seller(
        "Handwerkhof",
        "kurse@handwerkhof.test",
        WORKSHOPS,
        "Zürich",
        "Europe/Zurich",
        ("Workshop 1", "Workshop 3", "Courtyard"),
        "CHF",
    ),
    Seller(
        "Sato Workshops",
        "hi@satoworkshops.test",
        WORKSHOPS,
        "Tokyo",
        "Asia/Tokyo",
        ("Yanaka", "Kiyosumi"),
        "JPY",
        160,
        minor_units=1,
    ),
    Seller(
        "Second Spring",
        "shop@secondspring.test",
        VINTAGE,
        "Hamburg",
        "Europe/Berlin",
        ("1950s", "1960s", "1970s", "pre-war"),
        "EUR",
    ),
)

_MONTHS = ("January", "February", "March", "April", "May", "June", "September", "October", "November", "December")


def subject_of(kind: Kind, title: str) -> str:
    """Return what a title is about, without place and date."""
    found = re.fullmatch(kind.title.format(subject="(.+)", place="[^,]+", date="[^,]+"), title)
    assert found, f"no title of this kind: {title}"  # noqa: S101 - `items_of` made it
    return found[1]


def items_of(seller: Seller) -> Iterator[dict[str, str | int]]:
    """Yield the bodies of POST /api/items, the same for the same seller, no title twice. Events are to come."""
    chance = random.Random(seller.email)  # noqa: S311 - guards nothing, and must give the same every time
    kind, titles = seller.kind, set[str]()
    while len(titles) < ITEMS_PER_SELLER:
        subject, detail = kind.subjects[len(titles) % len(kind.subjects)]
        day, month, place = chance.randint(1, 28), chance.choice(_MONTHS), chance.choice(seller.places)
        words = {"date": f"{day} {month}", "place": place}
        title = kind.title.format(subject=subject.format(number=chance.randint(1, 6)), **words)
        if title in titles:
            continue
        titles.add(title)
        yield {
            "title": title,
            "description": chance.choice(kind.about).format(detail=detail),
            "price": chance.randint(*kind.price) * seller.per_euro * seller.minor_units,
            "currency": seller.currency,
            "quantity": chance.choice(kind.quantities),
            "category": kind.category,
            **(_event(seller, place, _next(day, month, seller)) if "{date}" in kind.title else {}),
        }


def _event(seller: Seller, place: str, starts_at: datetime) -> dict[str, str | int]:
    return {
        "kind": "event",
        "starts_at": starts_at.isoformat(),
        "venue": place,
        "city": seller.city,
        "timezone": seller.timezone,
    }


def _next(day: int, month: str, seller: Seller) -> datetime:
    """Eight in the evening of that day, the next time that it comes."""
    now = datetime.now(ZoneInfo(seller.timezone))
    then = datetime.strptime(f"{day} {month} {now.year} 20", "%d %B %Y %H").replace(tzinfo=now.tzinfo)
    return then if then > now else then.replace(year=now.year + 1)
