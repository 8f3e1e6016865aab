"""Entries for torch.hub.

    encoder = torch.hub.load(REPOSITORY, "encoder", "HUBERT_BASE")
    model = torch.hub.load(FOLDER, "spin_model", "spin_hubert_256", source="local")
    encoder = torch.hub.load(FOLDER, "mini", source="local")

All models are returned in evaluation mode, float32, on the CPU.
"""

dependencies = ["numpy", "pydantic", "safetensors", "torch"]


def spin_model(path, base=None):
    """A Spin model: a published name, our .safetensors, an official .ckpt or .pt, or an exported folder; see spin.load_model."""
    import spin

    return spin.load_model(path, base)


def encoder(name_or_path):
    """An encoder alone: "mini", a torchaudio bundle's name (needs torchaudio), or a path; see spin.load_encoder."""
    import spin

    return spin.load_encoder(name_or_path)


def mini():
    """The small encoder that comes with this repository."""
    return encoder("mini")
