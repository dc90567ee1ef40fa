"""Checks of arguments, with errors that name the argument and its value."""


def check_choice(*allowed: str | None, **arguments: str | None) -> None:
    """Raises a `ValueError` for an argument that has none of the allowed values."""
    for name, value in arguments.items():
        if value not in allowed:
            raise ValueError(f"`{name}` must be one of {', '.join(map(str, allowed))}. Received: {value!r}")


def check_positive(**numbers: float) -> None:
    """Raises a `ValueError` for a number that is not positive."""
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"`{name}` must be positive. Received: {value}")
