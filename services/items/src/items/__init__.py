"""Items owns what is for sale: items and their pictures.

It publishes items.*, and reads users.registered (the names of sellers) and orders.stock_changed (the available units).
"""
