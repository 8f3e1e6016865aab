"""The TensorBoard log of stage 0: what is in it, once, and its pictures on odd input."""

from pathlib import Path

import numpy as np
import pytest
from lhotse.supervision import AlignmentItem
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spin import artifacts
from spin.corpus.alignment import write_tsv
from spin.corpus.tensorboard import choose_examples, plot_phones, plot_speakers, show_corpus
from spin.corpus.validate import PartSummary, summarize
from spin.runtime.files import read_jsonl
from tests.corpus.layout import chapter_cuts


def test_log_holds_numbers_sound_and_pictures_once(small_corpus: Path, make_context, prepare_data, tmp_path: Path):
    write_tsv(tmp_path / "a.tsv", [(identity, ["SIL"] * 100) for identity in ("103-1240-0002", "1034-7-0001")])
    context = make_context(small_corpus, alignment="tsv", align_parts="all", alignment_tsv=str(tmp_path / "a.tsv"))
    prepare_data(context)
    shown = choose_examples(artifacts.cuts(context.corpus, "train"), seed=0, count=3)
    assert {cut.id for cut in shown[:2]} == {"103-1240-0002", "1034-7-0001"}  # with phones
    summaries = {part: summarize(part, read_jsonl(artifacts.cuts(context.corpus, part)), {}) for part in ("train", "dev")}
    for _ in range(2):  # a run after a kill does not double it
        show_corpus(context.tensorboard, context.corpus, summaries, seed=0)
    assert len(list(context.tensorboard.iterdir())) == 1
    events = EventAccumulator(str(context.tensorboard))
    events.Reload()
    tags = events.Tags()
    assert events.Scalars("speakers/train")[0].value == 2
    assert len(tags["audio"]) == 4 and set(tags["images"]) == {*tags["audio"], "speakers"}


@pytest.mark.parametrize("speakers", [1, 60, 61, 300])
def test_figure_of_few_and_of_many_speakers(speakers: int):
    part = PartSummary("a", durations=[1.0] * speakers, seconds_of={str(number): 1.0 + number for number in range(speakers)})
    assert len(plot_speakers([part]).axes[0].patches) == (speakers if speakers <= 60 else 0)


@pytest.mark.parametrize("samples", [np.zeros(1000, np.float32), np.ones(3, np.float32), np.zeros(160_000, np.float32)])
def test_figure_of_silence_and_scraps(small_corpus: Path, samples: np.ndarray):
    cut = chapter_cuts(small_corpus / "dev/5/1")[0]
    cut.supervisions[0].alignment = {"phone": [AlignmentItem("AH", 0.0, 0.5), AlignmentItem("B", 0.5, 99.0)]}
    axes = plot_phones(cut, samples).axes[0]
    assert len(axes.texts) == (2 if len(samples) > 8000 else 1)
    assert axes.get_xlim()[1] == pytest.approx(min(len(samples) / 16_000, 6.0))
