"""Labelled images: data sets, augmentation and batches."""
