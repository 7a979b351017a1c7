"""One training step of our learners against a hand-written PyTorch loop of the same function.

    python -m benchmarks.training_step --learner bptt,sltt:steps=T/4,osttp --peers --json step.json
    python -m benchmarks.training_step --steps 100,250,1000 --batch 1,16,64,256 --threads 2

Forward, backward and Adam on one batch. All variants take turns in one process, with the same Adam; `ratio` is the
median over rounds of variant / loop, `to bptt` that of variant / our own bptt. For `--backbone lif` the loop is written
out in full (benchmarks/plain_loop.py); for any other it is a loop over the cell's own `step`, as a user would write it,
its gradient by autograd. `hoisted-loop` is the same with each layer's input product outside. Our learners are given the
input as the workbench's loader delivers it, uint8; the loops and the peers the same numbers as floats, converted
beforehand. Before anything is timed, loop and `bptt` must agree on their first three losses to 1e-4.

By default: bptt, sltt, sltt with a quarter of the steps, osttp, ostl, eprop, and the last three where the decay depends
on the reset and where every unit has its own. Several values of --steps and --batch give one table each and a summary.

On a busy machine two threads wait for each other in every small operation: the loop, made of small operations, suffers
most and the ratios flatter. There, `--threads 1 --cpu-time` compares the work itself.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import torch

from benchmarks.contenders import BPTT, HOISTED, LOOP, TOLERANCE, Contenders
from benchmarks.naive_traces import FORMS
from benchmarks.options import (
    LearnerChoice,
    add_cpu_time,
    add_json,
    add_learners,
    add_network,
    command_line,
    learners,
    numbers,
    positive,
)
from benchmarks.peers import PEERS, present_peers
from benchmarks.timing import (
    FEW_ROUNDS,
    Timing,
    Variant,
    columns,
    environment_lines,
    interleave,
    load_average,
    timing_table,
    write_json,
)
from benchmarks.workload import Sizes
from workbench.errors import WorkbenchError

PATIENCE = 10.0
"""Seconds a step above which a variant takes part in few rounds only."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("training_step", __doc__)
    add_learners(parse, None, "see above")
    add_network(parse)
    parse.add_argument(
        "--steps", type=numbers, default=(100,), help="time steps, one or several (default: 100)"
    )
    parse.add_argument(
        "--batch", type=numbers, default=(64,), help="sequences a batch, the same (default: 64)"
    )
    parse.add_argument("--threads", type=positive, default=2, help="CPU threads (default: %(default)s)")
    parse.add_argument("--rounds", type=positive, default=15, help="rounds timed (default: %(default)s)")
    parse.add_argument("--peers", action="store_true", help="also snntorch, spikingjelly, norse if installed")
    parse.add_argument(
        "--naive", action="store_true", help="also osttp with traces renewed at every step, in three forms"
    )
    parse.add_argument("--update-step", action="store_true", help="also osttp with an update at every step")
    add_cpu_time(parse)
    add_json(parse, "name, ratio, ratio to bptt and milliseconds of each variant and combination")
    return parse


def default_learners(backbone: str, hidden: Sequence[int]) -> tuple[LearnerChoice, ...]:
    """Return the learners that are timed when none are named."""
    online = ("osttp", "ostl", "eprop")
    harder = {
        # As many decays as the widest layer has units: one each.
        "lif": ("backbone.reset=hard", f"backbone.decay=[0.9,0.98];backbone.decay_values={max(hidden)}"),
        "snu": ("backbone.learn_decay=true",),
        "ssnu": ("backbone.learn_decay=true",),
        "lru": (),
    }[backbone]
    more = [f"{rule}:{settings}" for settings in harder for rule in online]
    return learners(",".join(["bptt", "sltt", "sltt:steps=T/4", *online, *more]))


def variants(contenders: Contenders, options: argparse.Namespace) -> list[Variant]:
    """Return the variants that were asked for, the loop first and bptt among them. Raises ConfigurationError."""
    chosen = options.learner or default_learners(options.backbone, options.hidden)
    if all(choice.name != BPTT.name for choice in chosen):
        chosen = (BPTT, *chosen)
    found = [Variant(LOOP, contenders.loop()), Variant(HOISTED, contenders.hoisted_loop())]
    found += [Variant(choice.name, contenders.learner(choice)) for choice in chosen]
    if options.update_step:
        (choice,) = learners("osttp:update=step")
        found.append(Variant(choice.name, contenders.learner(choice), FEW_ROUNDS))
    plain = contenders.backbone == "lif" and not contenders.recurrent
    if options.naive and not plain:
        print("skipping naive traces: they are written for feed-forward lif networks")
    elif options.naive:
        found += [Variant(f"naive-{form}", contenders.naive(form), FEW_ROUNDS) for form in FORMS]
    if options.peers:
        found += [Variant(name, contenders.peer(name)) for name in present_peers(contenders.backbone)]
    return found


def losses(contenders: Contenders, peers: Sequence[str]) -> dict[str, list[float]]:
    """Return the first three losses of loop, bptt and peers. Raises AssertionError if loop and bptt differ."""
    loop, ours = contenders.first_losses()
    found = {LOOP: loop, BPTT.name: ours}
    for name in peers:
        step = contenders.peer(name)
        found[name] = [step() for _ in range(3)]
    return found


def record(timing: Timing, timings: dict[str, Timing], contenders: Contenders) -> dict[str, Any]:
    """Return what goes into the JSON file of one variant of one combination."""
    result, (low, high), sizes = timing.result(), timing.middle_half(), contenders.sizes
    naive = timings.get("naive-synaptic")
    return {
        "name": result.name,
        "ratio": result.ratio,
        "to_bptt": timing.against(timings[BPTT.name]),
        "to_naive": None if naive is None else timing.against(naive),
        "ms": result.ms,
        "middle_half": [low, high],
        "rounds": len(timing.ratios),
        "backbone": contenders.backbone,
        "recurrent": contenders.recurrent,
        "hidden": list(sizes.hidden),
        "steps": sizes.steps,
        "batch": sizes.batch,
    }


def measure(contenders: Contenders, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time one combination, print its tables and return its records. Raises WorkbenchError."""
    chosen = variants(contenders, options)
    peers = [variant.name for variant in chosen if variant.name in PEERS]
    recurrent = ", recurrent" if contenders.recurrent else ""
    kind = "processor" if options.cpu_time else "wall"
    print(
        f"\none training step, {contenders.backbone}{recurrent} {contenders.sizes}, float32, Adam, {kind} time"
    )
    rows = [(name, *(f"{x:.6f}" for x in xs)) for name, xs in losses(contenders, peers).items()]
    print(f"first three losses; {LOOP} and {BPTT.name} agree to {TOLERANCE}:")
    print(columns(("", "1", "2", "3"), rows))
    for name in peers:
        print(f"{name} computes something slightly different: {PEERS[name].difference}")
    clock = time.process_time if options.cpu_time else time.perf_counter
    timings = interleave(chosen, options.rounds, clock=clock, patience=PATIENCE)
    print("\n" + timing_table(timings, BPTT.name), flush=True)
    by_name = {timing.name: timing for timing in timings}
    for form in FORMS:
        naive = by_name.get(f"naive-{form}")
        for choice in (name for name in by_name if name.split(":")[0] == "osttp" and naive is not None):
            print(f"{choice} takes {by_name[choice].against(by_name[f'naive-{form}']):.4f} of naive-{form}")
    return [record(timing, by_name, contenders) for timing in timings]


def summary(records: Sequence[dict[str, Any]]) -> str:
    """Return the ratios to the loop, and to bptt in brackets, of every variant and combination."""
    places = list(dict.fromkeys((r["steps"], r["batch"]) for r in records))
    cells = {(r["name"], r["steps"], r["batch"]): f"{r['ratio']:.3f} ({r['to_bptt']:.2f})" for r in records}
    rows = [
        (name, *(cells.get((name, *place), "") for place in places))
        for name in dict.fromkeys(r["name"] for r in records)
    ]
    return columns(("to the loop (to bptt)", *(f"T={t} B={b}" for t, b in places)), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print tables, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    print("\n".join(environment_lines(options.threads)))
    records: list[dict[str, Any]] = []
    combinations = list(itertools.product(options.steps, options.batch))
    try:
        for steps, batch in combinations:
            sizes = Sizes(options.inputs, options.hidden, options.classes, steps, batch)
            records += measure(Contenders(sizes, options.backbone, options.recurrent), options)
            gc.collect()
            if options.json is not None:
                write_json(options.json, records)
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(combinations) > 1:
        print("\n" + summary(records))
    print(f"\nload average at the end {load_average()}, on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
