"""Speech recognition on frozen features or units: lang folder, n-gram LM, CTC model, training, decoding and scoring.

Everything here runs under torch 1.13.1 and k2 1.23.4 as well as under the newest of both, without torchaudio. Features and units
are what stage 3 stored.
"""

BLANK_ID = 0  # of CTC, in every kind of tokens
