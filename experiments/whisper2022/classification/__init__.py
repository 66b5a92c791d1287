"""Classification of spoken words: patches of a spectrogram beside a recurrent network."""
