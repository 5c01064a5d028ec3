"""The mailbox of a laptop and of the overlay for development: a real SMTP server whose mails everybody may read."""
