"""Pages out of templates."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from web.rendering.assets import Assets
from web.rendering.i18n import LANGUAGES, translations
from web.rendering.placeholder import ornament
from web.security.csrf import Csrf

TEMPLATES = Path(__file__).parents[1] / "templates"

HTMX = json.dumps(
    {
        "allowEval": False,
        "includeIndicatorStyles": False,  # an inline style: the content security policy forbids it
        "historyCacheSize": 0,
        "refreshOnHistoryMiss": True,
        "scrollIntoViewOnBoost": False,
    }
)


@dataclass(frozen=True)
class Site:
    """What every page is made with."""

    assets: Assets
    csrf: Csrf
    secure: bool
    stripe_key: str
    environments: Mapping[str, Environment]

    @classmethod
    def of(cls, assets: Assets, csrf: Csrf, *, secure: bool, stripe_key: str = "") -> "Site":
        """The site in every language. `secure`: only over https; without `stripe_key`, test cards are offered."""
        return cls(
            assets, csrf, secure, stripe_key, {language: _environment(language, assets) for language in LANGUAGES}
        )

    def render(self, language: str, template: str, context: Mapping[str, Any]) -> str:
        """A template in a language."""
        return self.environments[language].get_template(template).render(context)


def _environment(language: str, assets: Assets) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    found = translations(language)
    environment.install_gettext_callables(found.gettext, found.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.globals |= {"asset": assets.url, "ornament": ornament, "languages": LANGUAGES, "htmx_config": HTMX}
    return environment
