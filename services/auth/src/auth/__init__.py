"""Auth owns accounts, and is the only service that can sign sessions.

It publishes users.*. Of its own events it hears which sessions have ended, as every service with sessions does.
"""
