from . import reductions  # noqa: F401
