"""Sounds: files, log-mel features, augmentation and spoken words."""
