"""Units and their quality: extraction, k-means, purities and PNMI, bitrate, ABX, the speaker probe."""
