"""Orders owns orders and the stock they draw from, and decides who gets the units of an item.

It publishes orders.*, and reads items.* (the offers), expiration.elapsed and the outcomes of payments.*.
"""
