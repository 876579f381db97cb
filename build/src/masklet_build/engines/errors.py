"""Why plans could not be built."""


class BuildError(Exception):
    """TensorRT is missing, or did not build; the message says what it said and what to do."""
