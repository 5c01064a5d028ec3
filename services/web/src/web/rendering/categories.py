"""What categories are called."""

from collections.abc import Mapping

from common.events import Category
from web.rendering.i18n import N_

CATEGORIES: Mapping[Category, str] = {
    Category.MUSIC: N_("Music"),
    Category.THEATRE: N_("Theatre"),
    Category.COMEDY: N_("Comedy"),
    Category.SPORTS: N_("Sports"),
    Category.FILM: N_("Film"),
    Category.ARTS: N_("Arts"),
    Category.TALKS: N_("Talks"),
    Category.FAMILY: N_("Family"),
    Category.FOOD: N_("Food"),
    Category.NIGHTLIFE: N_("Nightlife"),
    Category.FASHION: N_("Fashion"),
    Category.HOME: N_("Home"),
    Category.ELECTRONICS: N_("Electronics"),
    Category.BOOKS: N_("Books"),
    Category.COLLECTIBLES: N_("Collectibles"),
    Category.OTHER: N_("Other"),
}
"""In the order in which they are offered."""
