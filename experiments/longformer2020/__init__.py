"""Beltagy, Peters, Cohan 2020: Longformer."""
