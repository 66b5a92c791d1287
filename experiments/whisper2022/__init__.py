"""Radford et al. 2022: Whisper, an encoder-decoder of sounds."""
