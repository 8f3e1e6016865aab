"""Systems: what the recipe compares. The first in the configuration is the baseline."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spin import artifacts
from spin.config import Config, SystemConfig


@dataclass(frozen=True)
class System:
    """One row of the comparison."""

    name: str  # of its folders and its rows in the report
    kind: Literal["encoder", "model", "fbank"]  # units from k-means; units from its own codebook; a log-mel filterbank
    source: str | None  # for spin.load_encoder or spin.load_model; None for fbank
    layer: int | None  # the encoder layer that is read; None: the model's own, or the last of a filterbank

    @property
    def has_codebook(self) -> bool:
        return self.kind == "model"


def systems_of(config: Config, exp: Path) -> tuple[System, ...]:
    """The systems of the configuration in order, baseline first."""
    return tuple(_resolve(system, config, exp) for system in config.systems)


def uses_stage_2(system: System, exp: Path) -> bool:
    """Whether the system is the model that stage 2 of this experiment trains."""
    return system.source == str(artifacts.spin_model(exp))


def _resolve(system: str | SystemConfig, config: Config, exp: Path) -> System:
    layer = config.units.layer or config.encoder.layer
    if system == artifacts.BASELINE:
        return System(system, "encoder", config.encoder.source, layer)
    if system == artifacts.SPIN:
        return System(system, "model", str(artifacts.spin_model(exp)), config.units.layer)
    if system == artifacts.FBANK:
        return System(system, "fbank", None, None)
    from spin.models.importers import is_model_source

    if is_model_source(system.source):
        return System(system.name, "model", system.source, system.layer)
    return System(system.name, "encoder", system.source, system.layer or layer)
