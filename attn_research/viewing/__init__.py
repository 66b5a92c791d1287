"""Tables, plots and attention maps, and attention to look into, as a page or in a notebook."""

from attn_research.viewing.page import show

__all__ = ["show"]
