class TypedStorage:
    """Named by handles; never made."""
