"""Kitaev, Kaiser, Levskaya 2020: Reformer."""
