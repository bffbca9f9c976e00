"""Placeholder until it lands."""


def add(commands: object) -> None:
    """Nothing yet."""
