"""A small llama: RMSNorm, rotary positions on neighbouring pairs (what llama.cpp calls NORM), SwiGLU, no biases."""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F

from generate import CONTEXT, VOCABULARY_SIZE

DIM, LAYERS, HEADS, FEED_FORWARD = 128, 4, 4, 384
HEAD_DIM = DIM // HEADS
ROPE_BASE = 10_000.0
NORM_EPSILON = 1e-5


def rotary_tables():
    frequencies = 1.0 / ROPE_BASE ** (torch.arange(0, HEAD_DIM, 2).float() / HEAD_DIM)
    angles = torch.outer(torch.arange(CONTEXT).float(), frequencies)
    return angles.cos(), angles.sin()


COS, SIN = rotary_tables()


def rotate(x, positions):
    """x: (rows, heads, length, HEAD_DIM); positions: (rows, length)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = COS[positions].unsqueeze(1), SIN[positions].unsqueeze(1)
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), -1).flatten(-2)


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(DIM))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + NORM_EPSILON) * self.weight


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Block(nn.Module):
    """The attribute names are the tensor names of a GGUF llama block."""

    def __init__(self):
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(), Norm()
        self.attn_q, self.attn_k, self.attn_v, self.attn_output = (linear(DIM, DIM) for _ in range(4))
        self.ffn_gate, self.ffn_up = linear(DIM, FEED_FORWARD), linear(DIM, FEED_FORWARD)
        self.ffn_down = linear(FEED_FORWARD, DIM)

    def forward(self, x, positions, causal):
        x = x + self.attend(self.attn_norm(x), positions, causal)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))

    def attend(self, h, positions, causal):
        rows, length, _ = h.shape
        q, k, v = (part(h).view(rows, length, HEADS, HEAD_DIM).transpose(1, 2) for part in (self.attn_q, self.attn_k, self.attn_v))
        q, k, v = (t.reshape(rows * HEADS, length, HEAD_DIM) for t in (rotate(q, positions), rotate(k, positions), v))
        weights = torch.baddbmm(causal, q, k.transpose(1, 2), alpha=1 / math.sqrt(HEAD_DIM)).softmax(-1)
        mixed = (weights @ v).view(rows, HEADS, length, HEAD_DIM).transpose(1, 2).reshape(rows, length, DIM)
        return self.attn_output(mixed)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embd = nn.Embedding(VOCABULARY_SIZE, DIM)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        self.output_norm = Norm()
        self.output = linear(DIM, VOCABULARY_SIZE)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, 0, 0.02)

    def forward(self, ids, positions):
        """ids, positions: (rows, length). Returns the state before the output projection, so that a loss can pick positions."""
        length = ids.shape[1]
        causal = torch.full((1, length, length), float("-inf")).triu(1)
        h = self.token_embd(ids)
        for block in self.blk:
            h = block(h, positions, causal)
        return self.output_norm(h)
