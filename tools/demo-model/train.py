"""Trains the demo model and writes it as GGUF. See README.md."""

import argparse
import hashlib
import pathlib
import random
import time

import torch
import torch.nn.functional as F

import generate
from muon import Muon
from network import Network
from write_gguf import write_gguf

SEED = 1
THREADS = 2
STEPS = 1800
WARMUP_STEPS = 50
MATRIX_LEARNING_RATE, OTHER_LEARNING_RATE = 2e-2, 3e-3
# (share of the steps, rows, tokens per row): short rows teach the answers quickly, long ones that the last question
# is the one to answer, however far back the others go.
PHASES = ((0.62, 32, 128), (0.25, 16, 256), (0.13, 4, 1024))


def learning_share(step, steps):
    """Up in a line, then down in a line."""
    return min((step + 1) / WARMUP_STEPS, 1 - step / steps)


def batch_shape(step, steps):
    done = step / steps
    for share, rows, length in PHASES:
        if done < share:
            return rows, length
        done -= share
    return PHASES[-1][1:]


def optimizers(network):
    """Each with its learning rate: Muon for the matrices inside the blocks, AdamW for the rest."""
    inside = [p for p in network.blk.parameters() if p.dim() == 2]
    chosen = {id(p) for p in inside}
    rest = [p for p in network.parameters() if id(p) not in chosen]
    return (
        (Muon(inside, lr=MATRIX_LEARNING_RATE), MATRIX_LEARNING_RATE),
        (torch.optim.AdamW(rest, lr=OTHER_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0), OTHER_LEARNING_RATE),
    )


def train(steps):
    torch.manual_seed(SEED)
    torch.set_num_threads(THREADS)
    rng = random.Random(SEED)
    network = Network()
    pairs = optimizers(network)
    started, shown = time.time(), 0.0
    for step in range(steps):
        inputs, targets, positions = (torch.tensor(part) for part in generate.batch(rng, *batch_shape(step, steps)))
        learned = targets != generate.IGNORED
        loss = F.cross_entropy(network.output(network(inputs, positions)[learned]), targets[learned])
        network.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer, learning_rate in pairs:
            optimizer.param_groups[0]["lr"] = learning_rate * learning_share(step, steps)
            optimizer.step()
        shown += loss.item()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1}/{steps}  loss {shown / 50:.4f}  {time.time() - started:.0f} s", flush=True)
            shown = 0.0
    return network


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default=generate.HERE.parent.parent / "models" / "lichen-demo.gguf", type=pathlib.Path)
    parser.add_argument("--steps", default=STEPS, type=int)
    options = parser.parse_args()
    network = train(options.steps)
    write_gguf(options.out, network.state_dict())
    print(f"{hashlib.sha256(options.out.read_bytes()).hexdigest()}  {options.out}  {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
