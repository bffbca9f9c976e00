"""Generation that a page watches. In: a run and an ask. Out: events as they happen, then figures.

The decoder continues what the run read, with its edits and without its positions where the run had none. A log that was written
to its end is kept with the run and replayed for an equal ask: everything in it but the seconds is a function of the ask.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

from ...config import ModelConfig
from ...decode import (
    Beam,
    Decoder,
    Denoising,
    Drafter,
    Drafting,
    Event,
    Figures,
    Lookup,
    Sampling,
    Session,
    Way,
    WrittenText,
    beam_search,
    natural,
    run,
    written,
)
from ...errors import CutawayError
from ...lens.observe import stepping
from ...model.visibility import causal
from ...strict import build
from .asks import AskGenerate, DraftModel
from .passes import Pass, within
from .shelf import Shelf
from .words import text_of

MOST_TOKENS = 1024
Line = dict[str, Any]


def events_of(found: Pass, ask: AskGenerate, shelf: Shelf) -> Generator[Line, None, None]:
    """The events, the first of them already made, so that what is wrong is said before a stream begins.

    shelf: what a draft model is taken from.
    """
    key = ("events", json.dumps(asdict(ask), sort_keys=True))
    with found.lock:
        log = found.kept.get(key)
    if isinstance(log, list):
        return _chain(log, ())
    figures = Figures()
    _check(found, ask)
    way = way_of(found, ask, shelf)
    decoder = decoder_of(found, ask, way)
    text = written(found.opened.tokenizer, found.opened.lm.config, found.read.ids[0].tolist(), (), None, way)
    lines = _lines(found, run(decoder, figures), figures, text, key)
    first = next(lines)
    return _chain([first], lines)


def decoder_of(found: Pass, ask: AskGenerate, way: Way) -> Decoder:
    """The decoder of an ask. Raises CutawayError for settings that are not allowed."""
    reading, config = found.read, found.opened.lm.config
    source = None if reading.source is None else reading.source.ids[0].tolist()
    ids: list[int] = reading.ids[0].tolist()
    if source is not None and found.ask.target is None and not found.ask.more:
        ids = ids[:1]  # what it says by itself, from the start
        reading = replace(reading, ids=reading.ids[:, :1], tokens=causal(1), lengths=(1,))
    if ask.decoder == "beam":
        if found.ask.edits:
            raise CutawayError("Beams are searched without edits. Take the edits away, or the decoder autoregressive.")
        beam = build(Beam, ask.sampling, "sampling")
        return beam_search(Session(found.model, source_ids=source), ids, beam, max_tokens=ask.max_tokens)
    sampling = build(Sampling, ask.sampling, "sampling")
    if found.ask.edits:
        if way.decoder_for(config) != "autoregressive":
            raise CutawayError(
                f"The {way.decoder} decoder runs without edits. Take them away, or decode autoregressively."
            )
        return stepping(found.model, reading, found.ask.edits, max_tokens=ask.max_tokens, sampling=sampling)
    session = Session(found.model, source_ids=source)
    return natural(session, ids, sampling, max_tokens=ask.max_tokens, way=way, source_ids=source)


def way_of(found: Pass, ask: AskGenerate, shelf: Shelf) -> Way:
    """The decoder of an ask, by name, and its settings. Raises CutawayError for one that the model was not trained for."""
    config = found.opened.lm.config
    if ask.decoder == "draft":
        given = build(DraftModel, ask.settings, "settings")
        drafter = Drafter.of(shelf.open(given.model).lm, found.opened.lm, given.num_drafts)
        return _fitting(Way(decoder="draft", drafter=drafter), config)
    if ask.decoder == "lookup":
        return _fitting(Way(decoder="lookup", looking=build(Lookup, ask.settings, "settings")), config)
    wanted = "autoregressive" if ask.decoder == "beam" else ask.decoder
    name = Way(decoder=wanted).decoder_for(config)
    if name == "diffusion":
        return Way(decoder=name, denoising=build(Denoising, ask.settings, "settings"))
    if name == "hybrid":
        return Way(decoder=name, drafting=build(Drafting, ask.settings, "settings"))
    if ask.settings:
        raise CutawayError(
            f"settings are for the decoders diffusion, hybrid, lookup and draft, and this is {name}. Leave them out."
        )
    return Way(decoder=name)


def _fitting(way: Way, config: ModelConfig) -> Way:
    """The way, of which the model was trained for the decoder. Raises CutawayError where it was not."""
    way.decoder_for(config)
    return way


def _check(found: Pass, ask: AskGenerate) -> None:
    config = found.opened.lm.config
    if config.decoder is None or found.model.head is None:
        raise CutawayError(
            f"'{found.opened.name}' continues no text: it was not trained to say tokens. Open a model that was."
        )
    within("max_tokens", ask.max_tokens - 1, MOST_TOKENS, "tokens asked for, less one,")


def _lines(found: Pass, events: Iterator[Event], figures: Figures, writer: WrittenText, key: object) -> Iterator[Line]:
    """Each event in the words of the protocol; the model runs one pass at a time, also for others."""
    log, text, has_ended = list[Line](), "", False
    while True:
        with found.opened.lock:
            event = next(events, None)
        if event is None:
            break
        if not has_ended:
            certain, has_ended = writer.push(event)
            text += certain
        log.append(_line(found, event, figures))
        yield log[-1]
    log.append({"figures": _figures(figures, text + writer.finish())})
    with found.lock:
        found.kept[key] = log
    yield log[-1]


def _line(found: Pass, event: Event, figures: Figures) -> Line:
    token = event.old if event.new is None else event.new  # what is taken away has a text, too
    return {
        "pass": figures.num_passes,
        "kind": event.kind,
        "position": event.position,
        "old": event.old,
        "new": event.new,
        "text": None if token is None else text_of(found.opened.words, token),
        "probability": event.probability,
    }


def _figures(figures: Figures, text: str) -> Line:
    return {
        "num_passes": figures.num_passes,
        "num_tokens": figures.num_tokens,
        "tokens_per_pass": figures.tokens_per_pass,
        "tokens_per_second": figures.tokens_per_second,
        "seconds": figures.seconds,
        "seconds_to_first": figures.seconds_to_first,
        "text": text,
    }


def _chain(first: Iterable[Line], rest: Iterable[Line]) -> Generator[Line, None, None]:
    yield from first
    yield from rest
