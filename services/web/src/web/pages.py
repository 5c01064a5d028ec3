"""The pages, as they are sent. No script; the one style sheet is allowed by its hash."""

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --ink: #26221f; --paper: #fbf7f0; --soft: #776b5e; --accent: #a8431f; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f1e9dd; --paper: #1d1a17; --soft: #b3a696; --accent: #f0926b; }
}
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.05rem/1.6 system-ui, sans-serif; }
main { max-width: 40rem; margin: 0 auto; padding: 12vh 1.5rem; }
h1 { margin: 0; font-size: 3.4rem; line-height: 1.1; letter-spacing: -0.03em; }
.lead { font-size: 1.3rem; margin: 0.6rem 0 2.5rem; }
h2 { font-size: 0.85rem; letter-spacing: 0.1em; text-transform: uppercase; color: var(--soft); }
ul { list-style: none; margin: 0; padding: 0; }
li { display: grid; grid-template-columns: 13rem 1fr; gap: 0 1rem; padding: 0.5rem 0; border-top: 1px solid; }
li { border-color: color-mix(in srgb, var(--soft) 35%, transparent); }
a { color: var(--accent); }
@media (max-width: 32rem) { li { grid-template-columns: 1fr; } }
"""

HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{HASH}'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "public, max-age=60",
}


def _page(title: str, content: str) -> str:
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{content}\n</main>\n</body>\n</html>\n"
    )


HOME = _page(
    "Souk",
    """<h1>Souk</h1>
<p class="lead">A marketplace that people buy and sell on. List an item; hold one for fifteen minutes; pay.
What nobody pays for goes back on sale.</p>
<h2>The API</h2>
<ul>
<li><a href="/api/items">/api/items</a> <span>what is on sale; sellers list theirs here</span></li>
<li><a href="/api/users/currentuser">/api/users/currentuser</a> <span>who is signed in</span></li>
<li><a href="/api/orders">/api/orders</a> <span>what you hold and have bought</span></li>
<li><a href="/api/payments">/api/payments</a> <span>what you have paid</span></li>
</ul>""",
)

MISSING = _page(
    "Souk: not here",
    '<h1>Not here</h1>\n<p class="lead">There is no page at this address.</p>\n<p><a href="/">Souk begins here</a></p>',
)
