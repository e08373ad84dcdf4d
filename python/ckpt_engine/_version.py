"""The package's version: that of the library it carries (a test compares)."""

__version__ = "0.1.0"
