"""Payments owns payments, and takes and refunds money through a gateway, each exactly once.

It publishes payments.*, and reads orders.* (the amounts due, rejected payments, refunds that sellers request).
"""
