"""What can go wrong while the stack starts."""


class StackError(Exception):
    """A failure that the operator can mend; the text says what is wrong and what to do."""
