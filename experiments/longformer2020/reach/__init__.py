"""The reach of windows: how far back a stack of layers finds a symbol."""
