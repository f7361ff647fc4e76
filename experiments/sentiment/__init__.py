"""Many to one: is a text positive or negative?"""
