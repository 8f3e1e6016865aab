"""The points of TensorBoard event files as TensorBoard shows them: what a resumed run purged is not there."""

from pathlib import Path

CLOCKS = ("second", "speed", "wait", "time", "memory")  # curves of the machine, not of the work


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Curve, with its folder -> (step, value) in order; curves of the machine have no values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[int, float]]] = {}
    for place in sorted({path.parent for path in folder.rglob("events.out.*")}):
        events = EventAccumulator(str(place), size_guidance={"scalars": 0})
        events.Reload()
        for name in events.Tags()["scalars"]:
            machine = any(word in name for word in CLOCKS)
            curve = [(event.step, 0.0 if machine else event.value) for event in events.Scalars(name)]
            found[f"{place.relative_to(folder)}/{name}"] = curve
    return found
