"""The whole forward pass, top to bottom. In: ids and a call. Out: logits.

    embedding (token + position) -> layers -> norm -> logits

A model has one stack (decoder-only, encoder-only) or two: the encoder's states are the memory that the decoder looks at.
Who sees whom, caches, kernels and watchers come with the call; nothing here knows a model family.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from ..config import ModelConfig, StackConfig
from ..errors import CutawayError
from .attention import CrossAttention
from .block import make_block
from .call import Call, Frame, Memory, keys_of
from .embedding import Embedding, TokenEmbedding
from .head import Head, Labels, Pooler
from .norm import make_norm
from .position import Rotary, make_bias
from .visibility import Flag, Tokens, allow


class Transformer(nn.Module):
    """A model: its stacks, and the head that turns the last stack's states into logits."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.token = TokenEmbedding(config)
        stacks = config.stacks
        self.encoder = Stack(config, stacks["encoder"], self.token) if "encoder" in stacks else None
        self.decoder = None
        if "decoder" in stacks:
            self.decoder = Stack(config, stacks["decoder"], self.token, has_cross=config.has_cross)
        self.head = Head(config, self.token) if config.has_head else None
        self.pooler = Pooler(config.main.d_model) if config.has_pooler else None
        self.labels = Labels(config.main.d_model, config.num_labels) if config.num_labels else None

    def forward(self, ids: Tensor, call: Call) -> Tensor:
        """ids: [batch, position] -> logits [batch, position, vocab]."""
        return self.logits(self.states(ids, call), call)

    def states(self, ids: Tensor, call: Call) -> Tensor:
        """What the last stack makes of ids: [batch, position] -> [batch, position, d_model]. Call: see `scoped`."""
        call = self.scoped(call, "decoder" if self.decoder is not None else "encoder")
        states: Tensor = self.main(ids, self.token.gated(ids, call))
        return states

    def logits(self, states: Tensor, call: Call) -> Tensor:
        """states: [batch, position, d_model] -> logits [batch, position, vocab]."""
        if self.head is None:
            raise CutawayError("This model has no head: it gives vectors, not tokens. Use `states` or `embed`.")
        logits: Tensor = self.head(states, call)
        return logits

    def pooled(self, states: Tensor, call: Call) -> Tensor:
        """One vector for each text, by the pooler. states: [batch, position, d_model] -> [batch, d_model]."""
        if self.pooler is None:
            raise CutawayError("This model has no pooler. Take the mean of its states, or the first one: see `embed`.")
        vectors: Tensor = self.pooler(states, call)
        return vectors

    def labelled(self, states: Tensor, call: Call) -> Tensor:
        """The scores of each token. states: [batch, position, d_model] -> [batch, position, label]."""
        if self.labels is None:
            raise CutawayError("This model scores no labels: it was not trained to mark tokens. Use a model that was.")
        scores: Tensor = self.labels(states, call)
        return scores

    def encode(self, ids: Tensor, call: Call) -> Memory:
        """The source, read once. ids: [batch, source]; call.tokens: the source's visibility."""
        assert self.encoder is not None, "encode needs an encoder"
        return Memory(self.encoder(ids, self.scoped(call, "encoder")), call.tokens)

    def fill(self, memory: Memory, call: Call) -> Memory:
        """The memory with every layer's keys and values computed beforehand, for sessions that extend step by step."""
        assert self.decoder is not None, "only a decoder looks at a memory"
        filled = [attention.fill(memory.states, call) for attention in self.decoder.crossings()]
        return replace(memory, filled=filled)

    def scoped(self, call: Call, name: str) -> Call:
        """The call under the stack's site prefix: `encoder.` or `decoder.` where there are two, none where there is one."""
        return replace(call, scope=f"{name}.") if self.config.has_cross else call

    @property
    def main(self) -> Stack:
        """The stack whose output becomes logits."""
        stack = self.decoder if self.decoder is not None else self.encoder
        assert stack is not None, "the config has a stack"
        return stack


class Stack(nn.Module):
    """Embedding, layers, norm. Layers may be shared across depth: layer i uses the weights of i mod num_distinct."""

    def __init__(
        self, config: ModelConfig, stack: StackConfig, token: TokenEmbedding, *, has_cross: bool = False
    ) -> None:
        super().__init__()
        self.config = stack
        positions = stack.positions()
        self.embedding = Embedding(config, stack, token)
        self.rotary = nn.ModuleDict(
            {slot(name): Rotary(stack.d_head, p) for name, p in positions.items() if p.kind == "rotary"}
        )
        biases = {name: make_bias(stack.attention.num_heads, p) for name, p in positions.items()}
        self.bias = nn.ModuleDict({slot(name): bias for name, bias in biases.items() if bias is not None})
        self.layers = nn.ModuleList(
            make_block(stack, positions[stack.kind(i)], has_cross=has_cross) for i in range(stack.num_distinct)
        )
        self.norm = make_norm(stack.d_model, stack.norm) if stack.has_final_norm else nn.Identity()

    def forward(self, ids: Tensor, call: Call) -> Tensor:
        """ids: [batch, position] -> [batch, position, d_model]."""
        call = self.begin(call)
        x = self.embedding(ids, call)
        for index in range(self.config.num_layers):
            layer = self.layers[index % len(self.layers)]
            x = layer(x, call.at(index, self.config.kind(index)))
        return call.tap("output.norm", self.norm(x))

    def begin(self, call: Call) -> Call:
        """Once per pass: the key side enters the store, and every layer type gets its frame."""
        keys = call.store.begin(call.tokens)  # type: ignore[union-attr]
        frames = {name: self.frame(name, call.tokens, keys_of(keys, name)) for name in self.config.layer_types}
        memory = call.memory
        if isinstance(memory, Memory):
            memory = replace(memory, frame=make_cross_frame(call.tokens, memory.tokens))
        return replace(call, frames=frames, memory=memory)

    def frame(self, name: str, queries: Tokens, keys: Tokens) -> Frame:
        """What the layers of one type share in this pass."""
        window, sinks = self.config.layer_types[name].window, self.config.attention.sinks
        if slot(name) in self.bias:
            bias = self.bias[slot(name)](queries, keys)
            mask = allow(queries, keys, window, sinks).unsqueeze(1)
            return Frame(queries, keys, None, mask, bias, window=window, sinks=sinks)
        frame = make_frame(queries, keys, window, sinks)
        if slot(name) in self.rotary:
            frame.cos, frame.sin = self.rotary[slot(name)](queries.position)
        return frame

    def crossings(self) -> list[CrossAttention]:
        """The cross-attention at every depth; layers shared across depth appear as often as they run."""
        distinct = [module for module in self.layers.modules() if isinstance(module, CrossAttention)]
        return [distinct[index % len(distinct)] for index in range(self.config.num_layers)]


def slot(layer_type: str) -> str:
    """The name of a layer type among modules: never one that modules use themselves, such as `type` or `half`."""
    return f"for_{layer_type}"


def make_frame(queries: Tokens, keys: Tokens, window: int | None = None, sinks: int = 0) -> Frame:
    """A frame with a flag where one holds, else with the dense mask: but where it is causal, for kernels need none there."""
    frame = Frame(queries, keys, choose_flag(queries, keys, window), window=window, sinks=sinks)
    if frame.flag is None and not frame.is_causal:
        frame.allowed()  # now, so that every layer meets the same: what is compiled of one serves all
    return frame


def make_cross_frame(queries: Tokens, source: Tokens) -> Frame:
    """The frame of cross-attention: a decoder's tokens over a source. Nothing is hidden where both are one text each."""
    is_full = queries.flag in ("causal", "full") and source.flag == "full"
    queries, keys = queries.as_queries_of_memory(), source.as_memory()
    return Frame(queries, keys, "full") if is_full else make_frame(queries, keys)


def choose_flag(queries: Tokens, keys: Tokens, window: int | None) -> Flag:
    """The promise that holds for these queries over these keys; a window shorter than the keys voids it.

    Packed parts keep their promise under a window and in a store: each part chooses a flag of its own.
    """
    if queries.flag == "packed" and keys.flag == "packed":
        return "packed"
    if window is not None and window < len(keys):
        return None
    if queries.flag == "causal" and keys.flag == "causal":
        if len(queries) == len(keys):
            return "causal"
        return "full" if len(queries) == 1 else None
    both = queries.flag == keys.flag and len(queries) == len(keys)
    return queries.flag if both else None
