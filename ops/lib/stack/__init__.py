"""The local stack: its parts, and what watches or asks them."""
