"""The network inside a hypernetwork: from a task's embedding to the weights of another network, chunk by chunk.

Chunks keep it small: one last layer of `chunk` outputs serves all of them, told apart by an embedding each (von Oswald
et al. 2020, arXiv 1906.00695, section 2.3). Stateless: its parameters are one vector Theta, so that a snapshot is a
copy, a step an addition, and derivatives in Theta are taken by autograd at whatever point is asked for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Generator:
    """h: a task's embedding `[task]` -> `total` numbers, made in chunks; stateless, its parameters are one vector."""

    kind: str
    """mlp: two hidden layers for each chunk on its own; recurrent: an LSTM that makes the chunks in order."""
    total: int
    chunk: int
    hidden: int
    task: int
    place: int

    @staticmethod
    def of(kind: str, total: int, chunk: int | None, hidden: int, task: int, place: int) -> Generator:
        """Return the generator of `total` weights; without `chunk`, of about half as many parameters."""
        chunk = chunk or math.ceil(total / (2 * (hidden + 1)))
        return Generator(kind, total, min(chunk, total), hidden, task, place)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the parameters' shapes by name, in the order in which they stand in the vector."""
        seen, gates = self.task + self.place, 4 * self.hidden
        shapes: dict[str, tuple[int, ...]] = {"places": (math.ceil(self.total / self.chunk), self.place)}
        if self.kind == "mlp":
            shapes |= {"first": (self.hidden, seen), "first_bias": (self.hidden,)}
            shapes |= {"second": (self.hidden, self.hidden), "second_bias": (self.hidden,)}
        else:
            shapes |= {"input": (gates, seen), "state": (gates, self.hidden), "gate_bias": (gates,)}
        return shapes | {"out": (self.chunk, self.hidden), "out_bias": (self.chunk,)}

    @property
    def size(self) -> int:
        """Numbers in Theta."""
        return sum(math.prod(shape) for shape in self.shapes().values())

    def initial(self, generator: torch.Generator) -> Tensor:
        """Return Theta `[size]`: embeddings N(0, 1), weights N(0, gain / fan-in), biases and the last layer 0."""
        gain = 2.0 if self.kind == "mlp" else 1.0
        parts = []
        for name, shape in self.shapes().items():
            if name.endswith("bias") or name == "out":
                parts.append(torch.zeros(shape).flatten())
            else:
                deviation = 1.0 if name == "places" else (gain / shape[-1]) ** 0.5
                parts.append((torch.randn(shape, generator=generator) * deviation).flatten())
        return torch.cat(parts)

    def __call__(self, theta: Tensor, embedding: Tensor) -> Tensor:
        """Return h(e, Theta) `[total]`, differentiable in both."""
        shapes = self.shapes()
        pieces = torch.split(theta, [math.prod(shape) for shape in shapes.values()])
        p = {name: piece.view(shapes[name]) for name, piece in zip(shapes, pieces, strict=True)}
        seen = torch.cat([embedding.expand(len(p["places"]), -1), p["places"]], dim=1)
        if self.kind == "mlp":
            hidden = torch.relu(seen @ p["first"].T + p["first_bias"])
            hidden = torch.relu(hidden @ p["second"].T + p["second_bias"])
        else:
            hidden = self._in_sequence(seen @ p["input"].T + p["gate_bias"], p["state"])
        made: Tensor = (hidden @ p["out"].T + p["out_bias"]).flatten()[: self.total]
        return made

    def _in_sequence(self, driven: Tensor, recurrent: Tensor) -> Tensor:
        """Return an LSTM's outputs `[chunks, hidden]` for gate inputs `[chunks, 4 hidden]`."""
        output = memory = driven.new_zeros(self.hidden)
        outputs = []
        for step in driven.unbind(0):
            enter, keep, new, show = (step + recurrent @ output).chunk(4)
            memory = keep.sigmoid() * memory + enter.sigmoid() * new.tanh()
            output = show.sigmoid() * memory.tanh()
            outputs.append(output)
        return torch.stack(outputs)
