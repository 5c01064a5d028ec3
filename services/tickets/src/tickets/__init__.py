"""Tickets: one per paid unit of an event, at the door and on their way from one holder to the next."""
