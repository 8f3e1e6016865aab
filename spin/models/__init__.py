"""HuBERT and WavLM encoders, and readers of every common checkpoint format."""
