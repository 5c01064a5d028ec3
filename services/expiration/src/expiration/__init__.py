"""Expiration owns the deadlines of holds, in Redis.

It publishes expiration.elapsed, and reads orders.placed, orders.cancelled and orders.paid.
"""
