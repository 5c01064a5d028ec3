"""A letter as a mail: in plain text, and in HTML that every mail program shows."""

import re
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from hashlib import sha256
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from notifications.domain import Person
from notifications.letters import Letter, Words

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_environment = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)


def rendered(
    letter: Letter,
    words: Words,
    person: Person,
    *,
    to: str,
    sender: str,
    site: str,
    mail_id: str,
    at: datetime,
    tickets: bytes | None = None,
) -> EmailMessage:
    """The mail, with `tickets` as a PDF. The same `mail_id` has the same Message-ID: one is known that comes twice."""
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = to
    mail["Subject"] = _CONTROL.sub(" ", letter.subject)[:200]
    mail["Date"] = format_datetime(at)
    domain = parseaddr(sender)[1].rpartition("@")[2]
    mail["Message-ID"] = f"<{sha256(mail_id.encode()).hexdigest()[:32]}@{domain}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail["Content-Language"] = words.locale.language
    context = {"letter": letter, "name": person.name, "site": site, "_": words.gettext, "lang": words.locale.language}
    context["with_tickets"] = tickets is not None
    mail.set_content(_environment.get_template("mail.txt").render(context), cte="quoted-printable")
    html = _environment.get_template("mail.html").render(context)
    mail.add_alternative(html, subtype="html", cte="quoted-printable")
    if tickets:
        mail.add_attachment(tickets, maintype="application", subtype="pdf", filename="tickets.pdf")
    return mail
