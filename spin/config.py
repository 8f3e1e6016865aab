"""The configuration: one frozen dataclass per section. The type, the choices and the range of a key stand next to it.

spin/config_io.py reads it from YAML and `--set section.key=value`; spin/product_keys.py says which product reads a key.
"""

import os
from dataclasses import field
from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from spin.setting_types import EACH_ONCE, STRICT, SYSTEMS, FilePath, Flag, FolderName, Integer, Number, known, ordered

PartNames = Annotated[tuple[FolderName, ...], EACH_ONCE]
Steps = Annotated[Integer, Field(ge=1, le=10_000_000)]
Samples = Annotated[Integer, Field(ge=400, le=10**9)]
Layer = Annotated[Integer, Field(ge=1, le=200)]
CodebookSize = Annotated[Integer, Field(ge=2, le=65_536)]
Seed = Annotated[Integer, Field(ge=0, le=2**31 - 1)]
Seconds = Annotated[Number, Field(ge=1.0, le=1e6)]
Rate = Annotated[Number, Field(ge=0.0, le=10.0)]
Decibels = Annotated[Number, Field(ge=-100.0, le=100.0)]
Scale = Annotated[Number, Field(ge=0.0, le=100.0)]
Decoder = Annotated[str, known("spin.asr.decoders:DECODERS")]


@dataclass(frozen=True, config=STRICT)
class GeneratedPart:
    """One part of the generated corpus: speakers [first_speaker, first_speaker + speakers), each with `utterances` sentences."""

    first_speaker: Annotated[Integer, Field(ge=0, le=10**9)]
    speakers: Annotated[Integer, Field(ge=1, le=100_000)]
    utterances: Annotated[Integer, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, config=STRICT)
class CorpusConfig:
    name: FolderName = "mini"  # manifests go to <data_dir>/<name>
    kind: Annotated[str, known("spin.corpus.registry:CORPORA")] = "generated"  # generated | librispeech | lhotse
    data_dir: FilePath = "data"
    corpus_dir: FilePath | None = None  # LibriSpeech: the folder that holds train-clean-100/ and the like
    download: Flag = False  # LibriSpeech: download missing parts into corpus_dir
    manifests: dict[str, FilePath] = field(default_factory=dict)  # kind lhotse: part -> cut manifest
    spin_train: PartNames = ("spin_train",)
    asr_train: PartNames = ("asr_train",)
    valid: PartNames = ("valid",)
    test: PartNames = ("test",)
    allow_shared_speakers: Flag = False  # training, valid and test speakers must be disjoint unless this is true
    # auto: exact for generated speech, pocketsphinx otherwise; official: the Spin authors' dev-clean.tsv and dev-other.tsv
    alignment: Literal["auto", "pocketsphinx", "tsv", "official", "none"] = "auto"
    alignment_tsv: FilePath | None = None  # utterance, tab, comma-separated phones every 10 ms
    align_parts: Literal["valid_and_test", "all"] = "valid_and_test"  # the metrics read no other alignments
    alignment_max_utterances: Annotated[Integer, Field(ge=0, le=10**9)] = 0  # per part, spread over its speakers; 0: all
    # Text for the n-gram LM, one sentence per line; librispeech: that of LibriSpeech's own LMs; default: transcripts of asr_train
    lm_text: FilePath | None = None
    min_duration_in_s: Annotated[Number, Field(ge=0.0, le=3600.0)] = 0.5
    max_duration_in_s: Annotated[Number, Field(ge=0.1, le=36_000.0)] = 40.0
    max_bad_share: Annotated[Number, Field(ge=0.0, le=1.0)] = 0.1  # a stage fails when a larger share of its utterances is bad
    lm_sentences: Annotated[Integer, Field(ge=0, le=10**8)] = 0  # of the generated corpus, or about so many of librispeech's text
    parts: dict[FolderName, GeneratedPart] = field(default_factory=dict)  # generated corpus only

    _order = ordered("min_duration_in_s", "max_duration_in_s")


@dataclass(frozen=True, config=STRICT)
class PerturbationConfig:
    formant_ratio_max: Annotated[Number, Field(ge=1.0, le=3.0)] = 1.4
    pitch_median_ratio_max: Annotated[Number, Field(ge=1.0, le=4.0)] = 2.0
    pitch_range_ratio_max: Annotated[Number, Field(ge=1.0, le=4.0)] = 1.5
    equaliser_gain_in_db: Annotated[Number, Field(ge=0.0, le=60.0)] = 12.0
    equaliser: Flag = True
    pitch_floor_in_hz: Annotated[Number, Field(ge=20.0, le=1000.0)] = 75.0  # of the wide first pass
    pitch_ceiling_in_hz: Annotated[Number, Field(ge=40.0, le=4000.0)] = 600.0

    _order = ordered("pitch_floor_in_hz", "pitch_ceiling_in_hz")


@dataclass(frozen=True, config=STRICT)
class NoiseConfig:
    """Additive noise: for both views of an objective that asks for it, and for noisy copies of the test parts."""

    manifests: tuple[FilePath, ...] = ()  # cuts of a noise corpus (MUSAN); none: generated noise and babble of spin_train
    impulse_responses: tuple[FilePath, ...] = ()  # recording manifests of room impulse responses
    min_snr_in_db: Decibels = -10.0
    max_snr_in_db: Decibels = 10.0
    test_kinds: Annotated[tuple[Literal["gaussian", "babble", "noise", "reverb"], ...], EACH_ONCE] = ()
    test_snrs_in_db: Annotated[tuple[Decibels, ...], EACH_ONCE] = (0.0,)

    _order = ordered("min_snr_in_db", "max_snr_in_db")


@dataclass(frozen=True, config=STRICT)
class EncoderConfig:
    source: FilePath = "mini"  # "mini" (shipped), a torchaudio bundle name, or a path
    layer: Layer = 4  # the layer that Spin, units and ASR read
    official_padding: Flag = False  # the official, padding-dependent GroupNorm; only for comparison with published figures


@dataclass(frozen=True, config=STRICT)
class SpinConfig:
    """Stage 2: the training, shared by all objectives, and the Spin loss that they build on."""

    codebook_size: CodebookSize = 128  # K
    codebook_dim: Annotated[Integer, Field(ge=1, le=65_536)] = 256
    trainable_layers: Annotated[Integer, Field(ge=0, le=200)] = 2  # the top layers up to and including encoder.layer
    temperature: Annotated[Number, Field(ge=1e-4, le=100.0)] = 0.1
    sinkhorn_epsilon: Annotated[Number, Field(ge=1e-4, le=100.0)] = 0.02
    learning_rate: Rate = 1e-4
    min_learning_rate: Rate = 1e-6
    weight_decay: Rate = 1e-6
    gradient_clip: Annotated[Number, Field(ge=1e-9, le=1e9)] = 10.0
    warmup_steps: Annotated[Integer, Field(ge=0, le=10_000_000)] = 2500
    max_steps: Steps = 5000
    batch_seconds: Seconds = 256.0  # audio of view 1 in one update, over all ranks
    accumulation: Annotated[Integer, Field(ge=1, le=10_000)] = 1  # micro-batches per update (GradCache)
    min_samples: Samples = 40_000
    max_samples: Samples = 272_000
    equal_lengths: Flag = False  # crop further, to the lower end of the duration bucket: no padding, faster attention
    valid_every_steps: Steps = 500
    valid_utterances: Annotated[Integer, Field(ge=1, le=10_000_000)] = 200
    checkpoint_every_steps: Steps = 500
    # auto: bf16 where the device multiplies it natively, else float32; bf16_frozen: bf16, and in what is frozen nothing but bf16
    precision: Literal["auto", "float32", "bf16", "bf16_frozen"] = "auto"
    workers: Annotated[Integer, Field(ge=0, le=512)] = 2  # data loader workers
    compile: Flag = False  # torch.compile the encoder

    _samples, _rates = ordered("min_samples", "max_samples"), ordered("min_learning_rate", "learning_rate")


@dataclass(frozen=True, config=STRICT)
class RSpinConfig:
    """R-Spin (arXiv 2311.09117): the Spin loss plus the weighted cross-entropy of frame labels, with noise on both views."""

    aux_weight: Annotated[Number, Field(ge=0.0, le=1000.0)] = 5.0  # lambda in equation 3
    labels: FilePath | None = None  # folder made by `python -m spin acoustic-pieces`; none: no auxiliary loss
    noise: Flag = True


@dataclass(frozen=True, config=STRICT)
class DCSpinConfig:
    """DC-Spin-style (after arXiv 2410.24177): a second, larger codebook next to the primary one. The weight is our own choice."""

    auxiliary_size: CodebookSize = 4096
    auxiliary_weight: Annotated[Number, Field(ge=0.0, le=1000.0)] = 1.0


@dataclass(frozen=True, config=STRICT)
class SystemConfig:
    """A system from outside: an encoder or a Spin or R-Spin model, by published name, torchaudio bundle or path."""

    name: FolderName
    source: FilePath
    layer: Layer | None = None  # default: the model's own, or encoder.layer


@dataclass(frozen=True, config=STRICT)
class UnitsConfig:
    layer: Layer | None = None  # default: encoder.layer
    batch_seconds: Seconds = 120.0
    kmeans_hours: Annotated[Number, Field(ge=0.001, le=1e6)] = 2.0  # k-means learns from at most this much of spin_train
    kmeans_starts: Annotated[Integer, Field(ge=1, le=1000)] = 3
    abx_max_utterances: Annotated[Integer, Field(ge=0, le=10**9)] = 1000
    metrics_first_seconds: Annotated[Number, Field(ge=0.0, le=1e6)] = 0.0  # 0: whole utterances; 10: the official validation
    pictures: Annotated[Integer, Field(ge=0, le=1000)] = 3  # utterances shown in TensorBoard


@dataclass(frozen=True, config=STRICT)
class AsrConfig:
    inputs: Annotated[tuple[Literal["features", "units"], ...], Field(min_length=1), EACH_ONCE] = ("features",)
    unit_input: Literal["raw", "smoothed", "deduplicated", "pieces"] = "raw"  # how the recogniser reads units
    unit_pieces: Annotated[Integer, Field(ge=10, le=100_000)] = 500  # vocabulary of the pieces
    tokens: Literal["auto", "characters", "bpe", "phone"] = "auto"  # auto: bpe from 2,000 distinct training words on
    lexicon: FilePath | None = None  # for tokens=phone: a word and its phones per line; default: the lexicon of stage 0
    vocabulary_size: Annotated[Integer, Field(ge=10, le=100_000)] = 500  # of the BPE
    model: Literal["conv", "blstm"] = "conv"  # conv: residual convolutions, fast on a CPU; blstm: as in SUPERB
    hidden: Annotated[Integer, Field(ge=1, le=65_536)] = 192  # blstm: of each direction
    layers: Annotated[Integer, Field(ge=1, le=100)] = 3
    dropout: Annotated[Number, Field(ge=0.0, le=0.99)] = 0.1
    learning_rate: Rate = 2e-3
    warmup_steps: Annotated[Integer, Field(ge=0, le=10_000_000)] = 50
    max_steps: Steps = 600
    batch_seconds: Seconds = 60.0
    gradient_clip: Annotated[Number, Field(ge=1e-9, le=1e9)] = 5.0
    weight_decay: Rate = 1e-6
    spec_augment: Flag = True
    average: Annotated[Integer, Field(ge=0, le=1000)] = 0  # 2 or more: the mean of the last N validated ones, if it is better
    valid_every_steps: Steps = 100
    checkpoint_every_steps: Steps = 100
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1), EACH_ONCE] = (0,)


@dataclass(frozen=True, config=STRICT)
class DecodingConfig:
    methods: Annotated[tuple[Decoder, ...], Field(min_length=1), EACH_ONCE] = ("ctc_1best", "hlg")
    lm_order: Annotated[Integer, Field(ge=1, le=6)] = 3
    rescore_order: Annotated[Integer, Field(ge=1, le=6)] = 4  # of the larger LM
    arpa: FilePath | None = None  # ARPA file (may end in .gz) for the search; default: trained on corpus.lm_text
    rescore_arpa: FilePath | None = None  # the same for rescoring; set both or neither
    search_beam: Annotated[Number, Field(ge=0.1, le=1000.0)] = 20.0
    output_beam: Annotated[Number, Field(ge=0.1, le=1000.0)] = 8.0
    max_active_states: Annotated[Integer, Field(ge=1, le=10**9)] = 2000  # bounds the time of a poor model too
    # the best on valid is used on test
    lm_scales: Annotated[tuple[Scale, ...], Field(min_length=1), EACH_ONCE] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)
    batch_seconds: Seconds = 120.0
    bootstrap_samples: Annotated[Integer, Field(ge=1, le=10_000_000)] = 1000

    _order = ordered("lm_order", "rescore_order")

    @model_validator(mode="after")
    def _check(self):
        if "hlg_lattice" in self.methods and bool(self.arpa) != bool(self.rescore_arpa):
            # Rescoring deletes paths with a word that its LM lacks, so both LMs are given or both are trained.
            missing = "rescore_arpa" if self.arpa else "arpa"
            raise ValueError(f"{missing} is not set: give an ARPA file for both LMs or for neither")
        return self


@dataclass(frozen=True, config=STRICT)
class PretrainConfig:
    """Masked prediction of k-means units, for the shipped small encoder; egs/librispeech/conf/pretrain_mini.yaml."""

    parts: PartNames = ("pretrain",)
    manifests: tuple[FilePath, ...] = ()  # further cut manifests, for example of another corpus
    init: FilePath | None = None  # start from this encoder, and take the first labels from it; none: from MFCCs
    augment: Flag = False  # random equaliser and noise on the input
    clusters: Annotated[tuple[CodebookSize, ...], Field(min_length=1)] = (100, 200)  # one per iteration
    steps: Annotated[tuple[Steps, ...], Field(min_length=1)] = (1000, 4000)  # one per iteration
    label_layer: Layer = 3
    kmeans_hours: Annotated[Number, Field(ge=0.001, le=1e6)] = 1.0
    learning_rate: Rate = 1e-3
    batch_seconds: Seconds = 32.0
    max_samples: Samples = 96_000

    @model_validator(mode="after")
    def _check(self):
        if len(self.clusters) != len(self.steps):
            found = f"{len(self.clusters)} and {len(self.steps)}"
            raise ValueError(f"clusters and steps: expected one of each per iteration, found {found}")
        return self


@dataclass(frozen=True, config=STRICT)
class RuntimeConfig:
    """Where and how the work runs. No product reads this section."""

    nj: Annotated[Integer, Field(ge=1, le=1024)] = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    gpus: Annotated[Integer, Field(ge=0, le=1024)] = 1  # per machine
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[Integer, Field(ge=1, le=1024)] = 2  # of torch in stage 2; sums over threads round differently


@dataclass(frozen=True, config=STRICT)
class Config:
    name: FolderName = "mini"
    seed: Seed = 0
    objective: Annotated[str, known("spin.objectives:OBJECTIVES")] = "spin"  # spin | rspin | dcspin
    # What is compared, baseline first. baseline: the encoder with k-means units; spin: what stage 2 trains; fbank: filterbanks
    systems: Annotated[tuple[str | SystemConfig, ...], Field(min_length=1), SYSTEMS] = ("baseline", "spin")
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    perturbation: PerturbationConfig = field(default_factory=PerturbationConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    spin: SpinConfig = field(default_factory=SpinConfig)
    rspin: RSpinConfig = field(default_factory=RSpinConfig)
    dcspin: DCSpinConfig = field(default_factory=DCSpinConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    asr: AsrConfig = field(default_factory=AsrConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
