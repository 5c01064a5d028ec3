"""Auth owns accounts, and is the only service that can sign sessions.

It publishes users.registered, and reads no events.
"""
