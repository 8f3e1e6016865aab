"""Stage 3, step by step: features, k-means, units, metrics, pictures. Imports what is heavy only for work that is due."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from spin import artifacts, products
from spin.runtime.files import read_json
from spin.runtime.product import Context
from spin.systems import System


def build_features(context: Context, systems: Sequence[System], parts: Sequence[str] = ()) -> None:
    """Features of parts (default: all) by all systems, in one pool of processes; systems with a codebook get their units too."""
    parts = parts or products.all_parts(context.config)
    wanted = [(part, system, products.features(context, system, part)) for part in parts for system in systems]
    due = [item for item in wanted if item[-1].needs_build()]
    if not due:
        return
    from spin.units.extraction import extract_features

    with ExitStack() as stack:
        folders: dict[str, tuple[Path, dict[System, Path]]] = {}
        for part, system, product in due:
            _, own = folders.setdefault(part, (artifacts.cuts(context.corpus, part), {}))
            own[system] = stack.enter_context(product.building(1 / len(due)))
        extract_features(context.config, folders, context.log)


def build_kmeans(context: Context, system: System) -> None:
    """k-means with spin.codebook_size clusters on at most units.kmeans_hours of the features of spin_train."""
    product = products.kmeans(context, system)
    if not product.needs_build():
        return
    from spin.data.cuts import read_cuts
    from spin.runtime.devices import resolve_device
    from spin.units.kmeans import draw_utterances, save_kmeans, train_kmeans

    config = context.config
    folders = [products.features(context, system, part).path for part in config.corpus.spin_train]
    with product.building() as path:
        cuts = (cut for folder in folders for cut in read_cuts(artifacts.cuts_in(folder)))
        data = draw_utterances(cuts, config.units.kmeans_hours, config.seed)
        device = resolve_device(config.runtime.device)
        size, starts = config.spin.codebook_size, config.units.kmeans_starts
        centres, inertia = train_kmeans(data, size, starts=starts, seed=config.seed, device=device)
        save_kmeans(path, centres, system.layer, inertia)


def build_units(context: Context, system: System, parts: Sequence[str] = ()) -> None:
    """Units of parts (default: all) by one system, from its own codebook or from k-means."""
    for part in parts or products.all_parts(context.config):
        product = products.units(context, system, part)
        if not product.needs_build():
            continue
        from spin.units.kmeans import assign_units
        from spin.units.units import read_units, write_units

        features = products.features(context, system, part).path
        manifest = artifacts.cuts_in(features)
        if system.has_codebook:
            size = read_json(artifacts.codebook_in(features))["codebook_size"]
            units = read_units(artifacts.units_lines(features))
        else:
            size = context.config.spin.codebook_size
            units = assign_units(context.config, manifest, products.kmeans(context, system).path)
        with product.building() as folder:
            write_units(folder, manifest, units, size)


def build_metrics(context: Context, system: System) -> None:
    """All metrics of one system on the test parts."""
    product = products.metrics(context, system)
    if not product.needs_build():
        return
    from spin.units.measure import write_metrics

    with product.building() as folder:
        write_metrics(context, system, folder)


def build_pictures(context: Context, systems: Sequence[System]) -> None:
    """TensorBoard: all metrics, unit maps, and a few utterances with the units of every system."""
    product = products.unit_pictures(context)
    if not product.needs_build():
        return
    from spin.units.figures import write_pictures

    with product.building() as folder:
        write_pictures(context, systems, folder)
