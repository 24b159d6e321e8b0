"""Read a SentencePiece tokenizer on the wire. Source: sentencepiece_model.proto of SentencePiece 0.2."""

from __future__ import annotations

from typing import BinaryIO

from weighbridge.formats.protobuf import Walked, schema, walk

TABLE = schema("""
ModelProto
    1 SentencePiece*+ pieces
    2 TrainerSpec+ trainer_spec
    3 NormalizerSpec+ normalizer_spec
    4 SelfTestData self_test_data
    5 NormalizerSpec denormalizer_spec
SentencePiece
    1 str+ piece
    2 f32 score
    3 int type
SelfTestData
    1 Sample* samples
Sample
    1 str input
    2 str expected
TrainerSpec
    1 line* input
    2 line model_prefix
    3 int model_type
    4 int vocab_size
    5 line* accept_language
    6 int self_test_sample_size
    7 line input_format
    10 f32 character_coverage
    11 int input_sentence_size
    12 int mining_sentence_size
    13 int training_sentence_size
    14 int seed_sentencepiece_size
    15 f32 shrinking_factor
    16 int num_threads
    17 int num_sub_iterations
    18 int max_sentence_length
    19 int shuffle_input_sentence
    20 int max_sentencepiece_length
    21 int split_by_unicode_script
    22 int split_by_whitespace
    23 int split_by_number
    24 int treat_whitespace_as_suffix
    25 int split_digits
    26 int allow_whitespace_only_pieces
    30 str* control_symbols
    31 str* user_defined_symbols
    32 int vocabulary_output_piece_score
    33 int hard_vocab_limit
    34 int use_all_vocab
    35 int byte_fallback
    36 str required_chars
    40 int unk_id
    41 int bos_id
    42 int eos_id
    43 int pad_id
    44 str unk_surface
    45 str unk_piece
    46 str bos_piece
    47 str eos_piece
    48 str pad_piece
    49 int train_extremely_large_corpus
    50 int enable_differential_privacy
    51 f32 differential_privacy_noise_level
    52 int differential_privacy_clipping_threshold
    53 str pretokenization_delimiter
    54 str seed_sentencepieces_file
    55 int auto_character_coverage
NormalizerSpec
    1 line name
    2 bytes precompiled_charsmap
    3 int add_dummy_prefix
    4 int remove_extra_whitespaces
    5 int escape_whitespaces
    6 str normalization_rule_tsv
""")


def read_sentencepiece(stream: BinaryIO, size: int) -> Walked:
    """Walk over a model of `size` bytes; raises Unreadable (checks `sentencepiece.*`) and OutOfBudget."""
    return walk(stream, size, TABLE, "ModelProto", check="sentencepiece", what="a SentencePiece tokenizer")
