"""Markdown book or raw story -> plain paragraphs for a small language model. In: text of one file. Out: clean documents.

The conventions of the output, chosen so that one thing is written in one way: straight quotes, double ones around speech;
`--` without spaces for every dash; `...` for every ellipsis; one space between words; one blank line between paragraphs; a
single line break only inside verse; no headings, notes, pictures, tables of contents, italics or links.
"""

from __future__ import annotations

import html
import re
import unicodedata
from statistics import median

_CHARACTERS = {
    **dict.fromkeys("“”„«»", '"'),
    **dict.fromkeys("‘’‚`´ʼ", "'"),
    **dict.fromkeys("—―─", "--"),
    **dict.fromkeys("\u00a0\u2002\u2003\u2009\u200a\t", " "),
    **dict.fromkeys("\u200b\u200c\u200d\ufeff\u00ad\u0305\r", ""),
    "…": "...",
    "ſ": "s",
    "–": "--",
    "æ": "ae",
    "Æ": "Ae",
    "œ": "oe",
    "Œ": "Oe",
}
_TRANSLATION = str.maketrans(_CHARACTERS)
_HEADING = re.compile(r"^(#+)\s*(.*?)\s*$")
_NUMBER = r"(?:[ivxlcdm]+|\d+|first|second|third|last)"
_PLAIN_HEADING = re.compile(
    rf"^(?:(?:chapter|book|part|volume|stave|section|canto|act|scene|letter)\b[\s.]*(?:the\s+)?{_NUMBER}\b.{{0,80}}"
    r"|[IVXLC]+\.?|\d+\.?|the end\.?|finis\.?|contents\.?|illustrations?\.?"
    r"|end of (?:the )?\w+ (?:book|part|volume).{0,20})$",
    re.IGNORECASE,
)
_MATTER = re.compile(
    r"^(?:contents|preface|foreword|footnotes?|notes?\b|index|glossary|dedication|transcriber|epigraph|list of|appendix"
    r"|etymology|extracts|introduct(?:ion|ory)|prefatory|author's|translator)",
    re.IGNORECASE,
)
_NOTE = re.compile(
    r"^(?:\*(?!\*)\s?\w|\[\*|\[?\(?(?:footnote|illustration|note)\b[ :.\d]|\[\d+\]|\[[A-Z]\]|\{\d+\}|>?\s*translation by)",
    re.IGNORECASE,
)
_SLUR = re.compile(r"\bnigg\w*", re.IGNORECASE)
_FOREIGN = re.compile(r"[^\x00-\xff]|[\x80-\x9f{}|<>=@#~^Ã©¨¦¯¤¢§¶\[\]]")
_RULE = re.compile(r"^[\s*_=~#.+-]*$")
_ELISION = re.compile(
    r"'(?:tis|twas|twere|twill|twould|em|ere|cause|bout|un|im|gainst|neath|mid|fore|pon|nough|round|tween|stead)\b"
)


def clean_book(markdown: str, longest: int = 16_000, shortest: int = 200) -> list[str]:
    """The chapters (or tales) of a Markdown book as documents of `shortest` to `longest` characters.

    markdown: the whole file, whose title, author and year headings end at the first rule. A chapter longer than `longest` is
    cut at paragraph borders into equal parts; what is shorter than `shortest` (mottoes, title pages) is dropped, and so are
    chapters that are mostly verse.
    """
    uses_single_quotes = _uses_single_quotes(_characters(markdown))
    documents: list[str] = []
    for section in _sections(_without_front_matter(markdown)):
        paragraphs = [text for block in section if (text := _paragraph(block))]
        if uses_single_quotes:
            paragraphs = [_double_quoted(text) for text in paragraphs]
        if sum(map(len, paragraphs)) >= shortest and not _is_mostly_verse(paragraphs):
            documents += _cut(paragraphs, longest)
    return documents


def clean_story(text: str) -> str | None:
    """One short story, or None when it is cut off, too short, or holds characters that no English story needs.

    text: one document of TinyStories, in which every line is a paragraph.
    """
    lines = [_paragraph([line]) for line in text.strip().split("\n")]
    story = "\n\n".join(line for line in lines if line)
    is_whole = bool(re.match(r'["\'A-Z]', story)) and bool(re.search(r"[.!?][\"']?$", story))
    is_clean = story.isascii() and not re.search(r"[<>{}|\\^~=@*#\[\]]|http", story) and story.count('"') % 2 == 0
    return story if is_whole and is_clean and len(story) >= 150 else None


def sentences(text: str) -> list[str]:
    """The sentences of at least six words, lower case and without punctuation: what near-duplicates share."""
    words = (re.findall(r"[a-z]+", sentence.lower()) for sentence in re.split(r"[.!?]|\n\n", text))
    return [" ".join(sentence) for sentence in words if len(sentence) >= 6]


def _without_front_matter(markdown: str) -> list[str]:
    lines = markdown.split("\n")
    rule = next((index for index, line in enumerate(lines[:30]) if re.match(r"^-{3,}\s*$", line)), -1)
    return lines[rule + 1 :]


def _sections(lines: list[str]) -> list[list[list[str]]]:
    """Lines -> sections (cut at headings, front and back matter left out) -> blocks of lines between blank lines."""
    sections: list[list[list[str]]] = [[[]]]
    is_matter = False
    for line in lines:
        text = _characters(line).replace("_", "").replace("*", "").strip()
        heading = _HEADING.match(text)
        title = heading[2] if heading else text if _PLAIN_HEADING.match(text) else None
        if title is not None:
            is_matter = bool(_MATTER.match(title))
            sections.append([[]])
        elif _RULE.match(line):
            sections[-1].append([])
        elif not is_matter:
            sections[-1][-1].append(line)
    return [[block for block in section if block] for section in sections]


def _paragraph(block: list[str]) -> str:
    """One paragraph of clean text, or "" for a note, a picture, a slur or another script."""
    lines = [_inline(line) for line in block]
    lines = [line for line in lines if line and not _RULE.match(line)]
    if not lines or _NOTE.match(block[0].strip()):
        return ""
    text = ("\n" if _is_verse(lines) else " ").join(lines)
    text = re.sub(r"(\w)- (?=[a-z])", r"\1-", text) if len(lines) > 1 else text
    if _SLUR.search(text) or _FOREIGN.search(text) or text.isupper():
        return ""
    return _without_loose_quotes(text)


def _without_loose_quotes(text: str) -> str:
    """`" So," he said` -> `"So," he said`: every second mark opens, where the marks come in pairs."""
    parts = text.split('"')
    if len(parts) % 2 == 0:
        return text
    return '"'.join(part.strip() if index % 2 else part for index, part in enumerate(parts))


def _characters(text: str) -> str:
    text = html.unescape(text)
    text = re.sub(r"[ÂÃ][\x80-\xbf]", lambda match: match[0].encode("latin-1").decode("utf-8"), text)
    return _without_rare_accents(unicodedata.normalize("NFC", text.translate(_TRANSLATION)))


def _without_rare_accents(text: str) -> str:
    """Letters outside Latin-1 lose their accents (ā -> a); other scripts stay, to be recognised."""
    return re.sub(r"[Ā-ſ̀-ͯḀ-ỿ]", lambda match: unicodedata.normalize("NFD", match[0])[0].strip("̀-ͯ"), text)


def _inline(line: str) -> str:
    text = _characters(line).strip().lstrip(">").strip()
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"<[^<>]{1,40}>", "", text)
    text = re.sub(r"(?<!\w)\s*\[[^\]]*\](?!\w)|\s*\[(?:\d+|\*+|\w)\]|\s*\{\d+\}", "", text)
    text = re.sub(r"\[([^\]]*)\]", r"\1", text)
    text = re.sub(r"_{2,}", "--", text).replace("_", "").replace("*", "").replace("\\", "")
    text = re.sub(r"\s*-{2,}\s*|\s+-\s+|(?<=[,;.])-(?=\w)", "--", text)
    text = re.sub(r"\s*\.(?:\s?\.){2,}", "...", text)
    text = re.sub(r"''", '"', text)
    text = re.sub(r"\s+([,;:.!?])(?!\.)", r"\1", text)
    return re.sub(r"\s+", " ", text).strip()


def _is_verse(lines: list[str]) -> bool:
    """Two or more short lines, nearly all of which begin with a capital: prose wrapped at the same width does not."""
    capitals = sum(bool(re.match(r"[\"'(\-]*[A-Z]", line)) for line in lines)
    return len(lines) >= 2 and median(map(len, lines)) < 60 and capitals >= 0.8 * len(lines)


def _is_mostly_verse(paragraphs: list[str]) -> bool:
    verse = sum(len(text) for text in paragraphs if "\n" in text)
    return verse > 0.4 * sum(map(len, paragraphs))


def _cut(paragraphs: list[str], longest: int) -> list[str]:
    """Paragraphs joined by blank lines, in the fewest documents of about equal size <= `longest` (but whole paragraphs)."""
    num_parts = -(-sum(len(text) + 2 for text in paragraphs) // longest)
    target = sum(len(text) + 2 for text in paragraphs) / num_parts
    parts: list[list[str]] = [[] for _ in range(num_parts)]
    filled = 0.0
    for text in paragraphs:
        parts[min(num_parts - 1, int((filled + len(text) / 2) / target))].append(text)
        filled += len(text) + 2
    return ["\n\n".join(part) for part in parts if part]


def _uses_single_quotes(text: str) -> bool:
    return len(re.findall(r"(?:^|[\s(-])'(?=[A-Z])", text, re.MULTILINE)) > 0.75 * text.count('"')


def _double_quoted(text: str) -> str:
    """Speech in single quotes -> double quotes, quotes within speech the other way; apostrophes stay.

    A mark opens speech when nothing or a space, bracket or dash stands before it and a character after it; it closes speech
    after punctuation, or after a letter that no elision ends in (goin', boys', an').
    """
    output: list[str] = []
    is_open = False
    for index, character in enumerate(text):
        if character == '"':
            character = "'"
        elif character == "'":
            before, after = text[index - 1 : index], text[index + 1 : index + 2]
            opens = (not before or before in ' (-\n"') and after.strip() != "" and not _ELISION.match(text, index)
            closes = (not after or after in ' -,.;:!?)\n"') and bool(re.match(r"[^\w\s]|[^\Wsndofhte_]", before or " "))
            if (opens and not is_open) or (closes and is_open):
                is_open, character = not is_open, '"'
        output.append(character)
    return "".join(output)
