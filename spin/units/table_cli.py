"""python -m spin units-table: units of k-means and of Spin over layers, K and seeds, all on the same audio and alignments."""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import sys
from collections.abc import Iterator
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.errors import ConfigError, DataError
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import write_json, write_jsonl, write_text
from spin.runtime.logs import get_logger
from spin.runtime.provenance import commit
from spin.runtime.rejects import Rejects
from spin.runtime.seeding import integer
from spin.runtime.settings import load_config
from spin.runtime.workers import map_parts
from spin.units.shards import read_cuts
from spin.units.table import Wanted, markdown, rows
from spin.units.table_cells import Cell, LayerCell, Protocol, measure_any
from spin.units.table_features import Source, Store, codebook_digest, digest, expected_frames, fill, layer_digests

BASELINE, CODEBOOK, ON_SPIN = SYSTEMS = ("kmeans", "spin", "kmeans-on-spin")
JSON_FILE, MARKDOWN_FILE, REJECTS_FILE = "units_table.json", "units_table.md", "rejects.jsonl"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin units-table", description=__doc__.split(": ", 1)[1], allow_abbrev=False)
    parser.add_argument("--exp", required=True, type=Path, help="an experiment whose stages 0 to 2 are done")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="of the table; what is finished there is kept")
    parser.add_argument("--layers", type=int, nargs="+", help="0: the input of the first (default: the experiment's layer)")
    parser.add_argument("--k", type=int, nargs="+", help="of k-means (default: the codebook's size)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of k-means (default: 0 1 2)")
    parser.add_argument("--systems", nargs="+", default=SYSTEMS, choices=SYSTEMS, help="default: all")
    parser.add_argument("--encoder", nargs="+", help="names or paths for k-means (default: the experiment's)")
    parser.add_argument("--spin-model", nargs="+", help="default: the experiment's; several of one kind give a spread")
    parser.add_argument("--train-part", nargs="+", help="teach k-means (default: the parts that Spin learns from)")
    parser.add_argument("--test-part", nargs="+", help="are measured on (default: the test parts)")
    parser.add_argument("--first-seconds", type=float, help="of each utterance only (10: the official validation; 0: all)")
    parser.add_argument("--abx", action="store_true", help="ABX of units and of features too, which takes longest")
    parser.add_argument("--data-dir", help="default: the experiment's corpus.data_dir")
    parser.add_argument("--nj", type=int, default=1, help="number of processes (default: 1)")
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help="of the encoders (default: cpu)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    arguments = parser.parse_args(argv)
    for name, least in (("layers", 0), ("k", 2), ("seeds", 0), ("nj", 1), ("first_seconds", 0)):
        values = getattr(arguments, name)
        for value in values if isinstance(values, list) else [] if values is None else [values]:
            if not value >= least:
                parser.error(f"--{name.replace('_', '-')} {value}: at least {least}")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Measures what is missing, writes JSON and Markdown, prints the table.

    Raises:
        SpinError: names the part, the file, the layer or the setting and what is wrong with it.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    config = load_config(artifacts.config_file(arguments.exp), arguments.overrides)
    log = get_logger("units-table")
    prepare_cpu(1)
    resolve_device(arguments.device)
    sources = _sources(arguments, config)
    protocol, parts = _protocol(arguments, config, sources[0])
    wanted = [entry for source in sources for entry in _wanted(arguments, config, protocol, source)]
    rejected = _check_rejects(arguments, config, protocol, wanted)
    layers = {entry.features: LayerCell(protocol, entry.features) for entry in wanted if entry.features}
    cells = {cell.path(): cell for cell in [*layers.values(), *(entry.cell for entry in wanted)]}
    missing = [cell for path, cell in cells.items() if not path.exists()]
    log.info("%d of %d cells are measured already", len(cells) - len(missing), len(cells))
    for number, _ in enumerate(map_parts(measure_any, missing, arguments.nj), start=1):
        log.info("cell %d of %d", number, len(missing))
    found = rows(wanted, {content: cell.figures() for content, cell in layers.items()})
    settings = {**protocol.key(), **parts, "rejected": rejected, "commit": commit()}
    write_json(arguments.output / JSON_FILE, {"schema": 1, "protocol": settings, "rows": found})
    write_text(arguments.output / MARKDOWN_FILE, markdown(found))
    print(markdown(found), end="")


def _sources(arguments: argparse.Namespace, config: Config) -> list[Source]:
    padding, found = config.encoder.official_padding, []
    if BASELINE in arguments.systems:
        names = arguments.encoder or [config.encoder.source]
        found += [
            Source(BASELINE if len(names) == 1 else f"{BASELINE} {Path(name).name}", name, False, padding) for name in names
        ]
    if {CODEBOOK, ON_SPIN} & set(arguments.systems):
        models = arguments.spin_model or [str(artifacts.spin_model(arguments.exp))]
        found += [Source(CODEBOOK, name, True, padding) for name in models]
    return found


def _protocol(arguments: argparse.Namespace, config: Config, source: Source) -> tuple[Protocol, dict]:
    """Writes the manifests of the utterances that every cell sees."""
    train, test = arguments.train_part or list(config.corpus.spin_train), arguments.test_part or list(config.corpus.test)
    corpus = artifacts.corpus_folder(arguments.data_dir or config.corpus.data_dir, config.corpus.name)
    units = config.units
    if arguments.first_seconds is not None:
        units = dataclasses.replace(units, metrics_first_seconds=arguments.first_seconds)
    for part in (*train, *test):
        if not artifacts.cuts(corpus, part).is_file():
            remedy = "run stage 0, or check --train-part, --test-part and --data-dir"
            raise DataError(str(artifacts.cuts(corpus, part)), found="no such file", expected="a manifest", remedy=remedy)
    protocol = Protocol(arguments.output, "", config.seed, units, arguments.abx)
    chosen = _teachers(config, [artifacts.cuts(corpus, part) for part in train], source)
    for role, parts, kept in (("train", train, chosen), ("test", test, None)):
        cuts = (cut for part in parts for cut in read_cuts(artifacts.cuts(corpus, part)))
        write_jsonl(protocol.cuts(role), (cut.to_dict() for cut in _once(cuts, kept)))
    audio = digest(*(protocol.cuts(role).read_bytes() for role in ("train", "test")))
    return dataclasses.replace(protocol, audio=audio), {"train": train, "test": test}


def _once(cuts: Iterator, kept: set[str] | None) -> Iterator:
    seen = set()
    for cut in cuts:
        if cut.id not in seen and (kept is None or cut.id in kept):
            seen.add(cut.id)
            yield cut


def _teachers(config: Config, manifests: list[Path], source: Source) -> set[str]:
    """At most units.kmeans_hours of utterances, drawn as stage 3 draws them; memory is that of the budget."""
    encoder, _ = source.load()
    budget = config.units.kmeans_hours * 3600 / artifacts.FRAME_SHIFT_IN_S
    kept: list[tuple[int, str]] = []  # a heap with the largest hash on top
    chosen: dict[str, int] = {}
    total = 0
    for path in manifests:
        for cut in read_cuts(path):
            frames = expected_frames(encoder, cut.duration)
            if cut.id in chosen or not frames:
                continue
            chosen[cut.id] = frames
            heapq.heappush(kept, (-integer(config.seed, "kmeans utterance", cut.id), cut.id))
            total += frames
            while total - chosen[kept[0][1]] >= budget:
                total -= chosen.pop(heapq.heappop(kept)[1])
    return set(chosen)


def _wanted(arguments: argparse.Namespace, config: Config, protocol: Protocol, source: Source) -> list[Wanted]:
    """The cells of a source; its features are computed where they are missing."""
    encoder, model = source.load()
    layers = arguments.layers or [config.units.layer or config.encoder.layer]
    if max(layers) > encoder.shape.layers:
        found, expected = f"layer {max(layers)}", f"0 to {encoder.shape.layers}, the layers of {source.path}"
        raise ConfigError("--layers", found=found, expected=expected)
    digests = layer_digests(encoder, source.official_padding)
    clustered = not source.spin or ON_SPIN in arguments.systems
    cells, units = [], None
    if source.spin and CODEBOOK in arguments.systems:
        content = codebook_digest(model, source.official_padding)
        units = protocol.store(content, "test")
        beside = digests[model.layer] if clustered and model.layer in layers else None
        cells.append(Wanted(CODEBOOK, Cell(protocol, content, model.layer, model.codebook.out_features, None), beside))
    if clustered:
        title, sizes = ON_SPIN if source.spin else source.title, arguments.k or [config.spin.codebook_size]
        grid = [(layer, size, seed) for layer in layers for size in sizes for seed in arguments.seeds]
        cells += [Wanted(title, Cell(protocol, digests[layer], layer, *rest), digests[layer]) for layer, *rest in grid]
    for role in ("train", "test"):
        stores = {layer: protocol.store(digests[layer], role) for layer in layers} if clustered else {}
        own = units if role == "test" else None
        fill(source, protocol.cuts(role), stores, own, config.units.batch_seconds, arguments.device, arguments.nj)
    return cells


def _check_rejects(arguments: argparse.Namespace, config: Config, protocol: Protocol, wanted: list[Wanted]) -> int:
    """Names the utterances that could not be used, and refuses too many of them."""
    rejects, total, seen = Rejects(arguments.output / REJECTS_FILE, 3), 0, set()
    for role in ("train", "test"):
        stores = [protocol.store(entry.cell.content, role) for entry in wanted if entry.cell.seed is not None or role == "test"]
        for folder in stores[:1]:
            store = Store(folder, protocol.cuts(role))
            total += len(store.frames) + len(store.rejected)
            for name, reason in store.rejected.items():
                if name not in seen:
                    rejects.add(name, role, reason)
                    seen.add(name)
    rejects.check_share(total, config.corpus.max_bad_share)
    rejects.close()
    return len(seen)
