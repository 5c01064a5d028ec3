"""Renders templates."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from common.i18n import translations
from common.languages import LANGUAGES
from web.rendering.assets import Assets
from web.rendering.i18n import LOCALES, I18n
from web.rendering.markdown import markdown
from web.rendering.placeholder import placeholder

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


class Templates:
    """The templates, compiled once for each language."""

    def __init__(self, assets: Assets) -> None:
        self._environments = {language: _environment(language, assets) for language in LANGUAGES}

    def render(self, i18n: I18n, template: str, context: Mapping[str, Any]) -> str:
        """A template in a visitor's language."""
        return self._environments[i18n.language].get_template(template).render(context, i18n=i18n)


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
    found = translations(LOCALES, language)
    environment.install_gettext_callables(found.gettext, found.ngettext, newstyle=True)  # type: ignore[attr-defined]
    environment.filters["markdown"] = markdown
    environment.globals |= {
        "asset": assets.url,
        "placeholder": placeholder,
        "languages": LANGUAGES,
        "htmx_config": HTMX,
    }
    return environment
