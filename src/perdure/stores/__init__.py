"""Where runs and journals live. ``memory`` is the readable reference, ``sqlite`` the default, ``postgres`` for many nodes."""
