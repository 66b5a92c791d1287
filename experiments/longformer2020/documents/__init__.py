"""Long documents: a published encoder carried to more positions by windows and global tokens."""
