"""Texts, money, numbers and times in the visitor's language. English is in the code, translations are in `locale/`."""

from datetime import date, datetime
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.core import negotiate_locale
from babel.dates import format_date, format_datetime, format_skeleton, format_time, get_timezone_location
from babel.localedata import locale_identifiers
from babel.numbers import format_decimal

from common.clock import now
from common.i18n import money, translations
from common.languages import LANGUAGES, accepted_locales

LOCALES = Path(__file__).parents[1] / "locale"


def N_(message: str) -> str:  # noqa: N802 - the name that extraction knows
    """Mark a text that is translated where it is used."""
    return message


class I18n:
    """Translates and formats for one locale."""

    def __init__(self, locale: Locale) -> None:
        self.locale = locale
        self._translations = translations(LOCALES, locale.language)

    @property
    def language(self) -> str:
        """`en` or `de`."""
        return self.locale.language

    @property
    def tag(self) -> str:
        """The locale as a BCP 47 tag, for `lang` in HTML."""
        return str(self.locale).replace("_", "-")

    def gettext(self, message: str) -> str:
        """The translation of a message."""
        return self._translations.gettext(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """The translation of a message that depends on a number."""
        return self._translations.ngettext(one, many, number)

    def money(self, minor: int, currency: str) -> str:
        """An amount of minor units, as this locale writes it."""
        return money(minor, currency, self.locale)

    def number(self, number: int) -> str:
        """A whole number with the locale's separators."""
        return format_decimal(number, locale=self.locale)

    def day(self, day: date) -> str:
        """A day, with its year."""
        return format_date(day, "medium", locale=self.locale)

    def moment(self, moment: datetime) -> str:
        """A point in time, in UTC. Scripts turn it into the visitor's time zone."""
        return format_datetime(moment, "d MMM y, HH:mm 'UTC'", locale=self.locale)

    def day_and_time(self, moment: datetime, zone: str | None) -> str:
        """A point in time where something takes place, with the city of the time zone (UTC if there is none)."""
        there = moment.astimezone(ZoneInfo(zone or "UTC"))
        day = format_skeleton("yMMMEd", there, tzinfo=there.tzinfo, locale=self.locale)
        place = get_timezone_location(zone, self.locale, return_city=True) if zone and "/" in zone else "UTC"
        return f"{day}, {self.time(moment, zone)} ({place})"

    def day_part(self, day: date, part: str) -> str:
        """A part of a day: `EEE` is the short name of its weekday, `d` its number, `MMM` its month."""
        return format_date(day, part, self.locale)

    def long_day(self, day: date) -> str:
        """A day with its full name."""
        return format_date(day, "full", self.locale)

    def soon(self, moment: datetime, zone: str | None) -> str:
        """Day and time where something takes place, in short: with the year if that is another one."""
        there = moment.astimezone(ZoneInfo(zone or "UTC"))
        skeleton = "MMMEd" if there.year == now().astimezone(there.tzinfo).year else "yMMMEd"
        day = format_skeleton(skeleton, there, tzinfo=there.tzinfo, locale=self.locale)
        return f"{day}, {self.time(moment, zone)}"

    @property
    def usual_currency(self) -> str:
        """The currency that a visitor is likely to want."""
        usual = {"US": "USD", "GB": "GBP", "CH": "CHF", "AU": "AUD", "CA": "CAD", "JP": "JPY"}
        return usual.get(self.locale.territory or "", "EUR")

    def time(self, moment: datetime, zone: str | None) -> str:
        """The time of day where something takes place."""
        return format_time(moment, "short", ZoneInfo(zone or "UTC"), self.locale)


@cache
def i18n_for(locale: str) -> I18n:
    """The translations and formats of a locale that `choose_locale` has returned."""
    return I18n(Locale.parse(locale))


def choose_locale(accept_language: str, preferred: str | None) -> str:
    """The best supported locale for an `Accept-Language` header. `preferred` is the language the visitor has picked."""
    preferred = preferred if preferred in LANGUAGES else None
    wanted = [tag for tag in accepted_locales(accept_language) if preferred in (None, tag.split("_")[0])]
    for tag in [*wanted, preferred or "en"]:
        if tag.split("_")[0] in LANGUAGES and (known := _known(tag)):
            return known
    return "en"


@cache
def _all_locales() -> frozenset[str]:
    return frozenset(tag for tag in locale_identifiers() if tag.split("_")[0] in LANGUAGES)


def _known(tag: str) -> str | None:
    language, *rest = tag.split("_")
    tag = "_".join([language.lower(), *(part.upper() for part in rest if len(part) == 2)])
    try:
        return negotiate_locale([tag], _all_locales()) or (str(Locale(language.lower())))
    except UnknownLocaleError:
        return None
