"""Writes a GGUF v3 file: header, metadata, tensor table, then each tensor on a 32-byte boundary, all little-endian.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import pathlib
import struct

from generate import BOS, CONTEXT, EOS, HERE, SPACE, VOCABULARY_SIZE
from network import DIM, FEED_FORWARD, HEAD_DIM, HEADS, LAYERS, NORM_EPSILON, ROPE_BASE

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9  # GGUF value types
TENSOR_F32 = 0
UNKNOWN, NORMAL, CONTROL, BYTE = 2, 1, 3, 6  # llama.cpp token types


def packed_string(text):
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def packed(kind, value):
    if kind == STRING:
        return packed_string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def packed_entry(key, kind, value):
    if isinstance(value, list):
        head = struct.pack("<IIQ", ARRAY, kind, len(value))
        return packed_string(key) + head + b"".join(packed(kind, item) for item in value)
    return packed_string(key) + struct.pack("<I", kind) + packed(kind, value)


def vocabulary():
    """Three control tokens, 256 bytes, and the mark that the "llama" tokenizer makes of a space."""
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581"]
    assert len(tokens) == VOCABULARY_SIZE and tokens[SPACE] == "\u2581"
    return tokens, [0.0] * SPACE + [-1.0], [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [NORMAL]


def metadata():
    tokens, scores, types = vocabulary()
    return [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, "lichen-demo"),
        ("general.description", STRING, "A toy for trying Lichen: small sums, echo, capitals, and what a lichen is."),
        ("general.license", STRING, "apache-2.0"),
        ("general.file_type", U32, 0),
        ("llama.context_length", U32, CONTEXT),
        ("llama.embedding_length", U32, DIM),
        ("llama.block_count", U32, LAYERS),
        ("llama.feed_forward_length", U32, FEED_FORWARD),
        ("llama.attention.head_count", U32, HEADS),
        ("llama.attention.head_count_kv", U32, HEADS),
        ("llama.attention.layer_norm_rms_epsilon", F32, NORM_EPSILON),
        ("llama.rope.dimension_count", U32, HEAD_DIM),
        ("llama.rope.freq_base", F32, ROPE_BASE),
        ("llama.vocab_size", U32, VOCABULARY_SIZE),
        ("tokenizer.ggml.model", STRING, "llama"),
        ("tokenizer.ggml.tokens", STRING, tokens),
        ("tokenizer.ggml.scores", F32, scores),
        ("tokenizer.ggml.token_type", I32, types),
        ("tokenizer.ggml.bos_token_id", U32, BOS),
        ("tokenizer.ggml.eos_token_id", U32, EOS),
        ("tokenizer.ggml.unknown_token_id", U32, 0),
        ("tokenizer.ggml.add_bos_token", BOOL, True),
        ("tokenizer.ggml.add_eos_token", BOOL, False),
        ("tokenizer.ggml.add_space_prefix", BOOL, False),
        ("tokenizer.chat_template", STRING, (HERE / "chat-template.jinja").read_text(encoding="utf-8").strip()),
    ]


def padded(data):
    return data + b"\0" * (-len(data) % ALIGNMENT)


def write_gguf(path, tensors):
    """tensors: name -> float32 numpy-like array (torch state_dict values do). GGUF lists dimensions innermost first."""
    table, blobs, offset = b"", [], 0
    for name, tensor in tensors.items():
        shape = list(reversed(tensor.shape))
        table += packed_string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, TENSOR_F32, offset)
        blobs.append(padded(tensor.detach().float().contiguous().numpy().tobytes()))
        offset += len(blobs[-1])
    entries = metadata()
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries))
    head += b"".join(packed_entry(*entry) for entry in entries) + table
    pathlib.Path(path).write_bytes(padded(head) + b"".join(blobs))
