"""The configuration: one frozen dataclass per concern, read from YAML, overridden by section.key=value, saved resolved.

Unknown keys, wrong types and values out of range are errors that name the key and where it came from. The reader is
spin/runtime/settings.py, the ranges are in limits.py beside it; this file is the list of what can be set.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class GeneratedPart:
    """One part of the generated corpus: speakers [first_speaker, first_speaker + speakers), each with `utterances` sentences."""

    first_speaker: int
    speakers: int
    utterances: int


@dataclass(frozen=True)
class CorpusConfig:
    name: str = "mini"  # manifests go to <data_dir>/<name>
    kind: str = "generated"  # generated | librispeech
    data_dir: str = "data"
    corpus_dir: str | None = None  # LibriSpeech: the folder that holds train-clean-100/ and its like
    download: bool = False  # LibriSpeech: fetch missing parts through lhotse into corpus_dir
    spin_train: tuple[str, ...] = ("spin_train",)  # roles: each names parts
    asr_train: tuple[str, ...] = ("asr_train",)
    valid: tuple[str, ...] = ("valid",)
    test: tuple[str, ...] = ("test",)
    allow_shared_speakers: bool = False  # train, valid and test speakers must be disjoint unless this is true
    alignment: str = "auto"  # auto (generated: exact, LibriSpeech: pocketsphinx) | pocketsphinx | tsv | none
    alignment_tsv: str | None = None  # utterance, tab, comma-separated phones every 10 ms
    alignment_max_utterances: int = 0  # of a part, spread over its speakers; 0: all. Bounds pocketsphinx's time on large parts
    lm_text: str | None = None  # text for the n-gram LM, one sentence a line; default: the transcripts of asr_train
    min_duration_in_s: float = 0.5
    max_duration_in_s: float = 40.0
    max_bad_share: float = 0.1  # a stage fails when more than this share of its utterances is bad
    generated_seed: int = 0
    lm_sentences: int = 0  # generated corpus: further sentences of the grammar for the LM, none of them in valid or test
    parts: dict[str, GeneratedPart] = field(default_factory=dict)  # generated corpus only


@dataclass(frozen=True)
class PerturbationConfig:
    formant_ratio_max: float = 1.4
    pitch_median_ratio_max: float = 2.0
    pitch_range_ratio_max: float = 1.5
    equaliser_gain_in_db: float = 12.0
    equaliser: bool = True
    pitch_floor_in_hz: float = 75.0  # of the wide first pass
    pitch_ceiling_in_hz: float = 600.0
    range_seconds: float = 600.0  # of each speaker's speech, evenly spread, from which the pitch range is estimated
    tensorboard_pairs: int = 4


@dataclass(frozen=True)
class EncoderConfig:
    source: str = "mini"  # "mini" (shipped), a torchaudio bundle name, or a path
    layer: int = 4  # the layer that Spin, units and ASR read
    official_padding: bool = False  # the official, padding-dependent GroupNorm; for comparison with published figures only


@dataclass(frozen=True)
class SpinConfig:
    codebook_size: int = 128
    codebook_dim: int = 256
    trainable_layers: int = 2  # the top layers below and including encoder.layer
    temperature: float = 0.1
    sinkhorn_epsilon: float = 0.02
    sinkhorn_iterations: int = 3
    learning_rate: float = 1e-4
    min_learning_rate: float = 1e-6
    weight_decay: float = 1e-6
    gradient_clip: float = 10.0
    warmup_steps: int = 2500
    max_steps: int = 5000
    batch_seconds: float = 256.0  # audio of view 1 in one update, over all ranks
    accumulation: int = 1
    min_samples: int = 40_000
    max_samples: int = 272_000
    equal_lengths: bool = False  # crop further, to the lower end of the duration bucket: no padding, faster attention
    valid_every_steps: int = 500
    valid_utterances: int = 200
    checkpoint_every_steps: int = 500
    log_every_steps: int = 10
    min_perplexity_share: float = 0.05  # code perplexity below this share of K for `patience` validations: collapsed
    collapse_patience: int = 2
    precision: str = "auto"  # auto (bf16 where the device multiplies it natively, else float32) | float32 | bf16
    workers: int = 2  # loader workers
    speed_up: str = "none"  # none | compile


@dataclass(frozen=True)
class UnitsConfig:
    layer: int | None = None  # default: encoder.layer
    batch_seconds: float = 120.0
    kmeans_hours: float = 2.0  # at most this much of spin_train teaches k-means
    kmeans_starts: int = 3
    kmeans_epochs: int = 5
    kmeans_memory_in_mib: float = 512.0  # of its batches, sample and centres; where it is too little, batches become smaller
    abx_max_per_context: int = 10  # items per (phone, context, speaker)
    abx_max_utterances: int = 1000
    abx_max_x_across: int = 5  # speakers of X for each (A, B) of another speaker
    abx_max_distances: int = 2_000_000  # alignments by dynamic time warping; about 5 microseconds each
    metrics_first_seconds: float = 0.0  # 0: whole utterances; 10: the official validation
    pictures: int = 3
    store_layers: bool = False  # every layer of the parts that ASR reads, for asr.weighted_sum; L + 1 times the disk of one


@dataclass(frozen=True)
class AsrConfig:
    systems: tuple[str, ...] = ("baseline", "spin")  # and fbank: a log-mel filterbank with the same recogniser
    tokens: str = "auto"  # auto (characters below 2,000 distinct training words, else bpe) | characters | bpe | phone
    weighted_sum: bool = False  # a learned weighted sum of all layers instead of the one of stage 3, as in SUPERB
    features: str = "stored"  # stored (by stage 3) | on_the_fly (by the frozen encoder, in stages 4 and 5; no disk)
    lexicon: str | None = None  # for tokens=phone: word and phones a line; default: the lexicon of stage 0
    vocabulary_size: int = 500  # of the BPE
    model: str = "conv"  # conv: residual convolutions, fast on a CPU | blstm: as in SUPERB (hidden 1024, layers 2)
    hidden: int = 192  # blstm: of each direction
    layers: int = 3
    dropout: float = 0.1
    subsampling: int = 1  # frames joined into one: 1 is best for characters at 20 ms
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    max_steps: int = 600
    batch_seconds: float = 60.0
    gradient_clip: float = 5.0
    weight_decay: float = 1e-6
    spec_augment: bool = True
    concatenate: bool = False  # short utterances of a batch end to end, up to the longest of it: less padding
    average: int = 0  # 2 and more: the mean of the weights of so many last validations stands for the model where it is better
    patience: int = 0  # stop after so many validations without a better WER; 0: never
    valid_every_steps: int = 100
    checkpoint_every_steps: int = 100
    log_every_steps: int = 10
    feature_cache_in_mib: int = 1024  # of each training: features kept in memory
    threads: int = 1  # of torch in each training and decoding; --nj of them run side by side, with the same bits for any --nj
    seeds: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class DecodingConfig:
    methods: tuple[str, ...] = ("ctc_1best", "hlg")  # and hlg_nbest, hlg_lattice: rescored with a larger LM
    lm_order: int = 3
    rescore_order: int = 4  # of the larger LM
    arpa: str | None = None  # ARPA file (may end in .gz) for the search; default: trained on corpus.lm_text
    rescore_arpa: str | None = None  # likewise for rescoring; given with arpa or not at all
    rescore_max_arcs: float = 10.0  # a frame: of lattices with more, the best are rescored; bounds time and memory
    nbest_paths: int = 100  # drawn from each lattice
    nbest_spread: float = 0.5  # of the lattice's scores in drawing: smaller gives more different texts
    word_times: bool = False  # words.ctm of every decoding but hlg_nbest, which has no alignment
    lattices: bool = False  # lattices.txt.gz of hlg and hlg_lattice, in Kaldi's text form; hlg_nbest keeps texts only
    search_beam: float = 20.0
    output_beam: float = 8.0
    min_active_states: int = 30
    max_active_states: int = 2000  # bounds the time of a poor model too
    lm_scales: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6, 2.0)  # the best on valid is used on test
    batch_seconds: float = 120.0
    bootstrap_samples: int = 1000


@dataclass(frozen=True)
class PretrainConfig:
    """Masked prediction of k-means units, for the shipped tiny encoder; egs/librispeech/conf/pretrain_mini.yaml."""

    parts: tuple[str, ...] = ("pretrain",)
    valid_parts: tuple[str, ...] = ("pretrain_valid",)  # never trained on; speaks the sentences kept for valid
    clusters: tuple[int, ...] = (100, 200)  # one number an iteration
    steps: tuple[int, ...] = (1000, 4000)
    label_layer: int = 3  # of the encoder of the iteration before
    speaker_normalised_labels: bool = True
    kmeans_hours: float = 1.0
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    batch_seconds: float = 32.0
    max_samples: int = 96_000
    unmasked_weight: float = 0.5  # of the loss on frames that are not masked; it shortens the first plateau
    mask_probability: float = 0.08
    mask_length: int = 10
    gradient_clip: float = 5.0
    weight_decay: float = 1e-2
    checkpoint_every_steps: int = 250
    log_every_steps: int = 25
    precision: str = "bf16"
    workers: int = 0


@dataclass(frozen=True)
class RuntimeConfig:
    """Where and how the work runs. Never part of what a stage's done mark was made from."""

    nj: int = 2
    gpus: int = 1  # of each machine that stage 2 trains on
    rank_patience: float = 600.0  # seconds until a GPU or machine that does not answer ends the training of all; see ranks.start
    device: str = "auto"  # auto | cpu | cuda
    threads: int = 2  # of torch on the CPU; fixed, because sums over threads round differently


@dataclass(frozen=True)
class Config:
    name: str = "mini"
    seed: int = 0
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    perturbation: PerturbationConfig = field(default_factory=PerturbationConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    spin: SpinConfig = field(default_factory=SpinConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    asr: AsrConfig = field(default_factory=AsrConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
