"""Notifications sends the mails that events ask for. It publishes nothing."""
