"""Texts on which tokenizers go wrong: scripts, marks, white space, controls, emoji, long words, spelled special tokens."""

from __future__ import annotations

TEXTS = (
    "",
    " ",
    "   ",
    "a",
    "Hello, World! It's 12:30 o'clock; don't you'll we've I'M HE'S.",
    "The quick brown fox jumps over the lazy dog.",
    "  two before, three   inside, one after ",
    "tabs\tand\t\ttabs\nlines\n\nlines\r\nlines\r \n ends\n",
    "\n\n\n   \n\t \n",
    "trailing spaces   ",
    "\u3000wide\u3000\u00a0no-break\u2009thin\u200bzero\u2028line\u2029paragraph\ufeff",
    "Émigré naïve façade Ångström Dvořák İstanbul ISTANBUL ıi Straße ẞ ﬁ ﬂ ﬃ Œuvre",
    "E\u0301migre\u0301 A\u030angstro\u0308m a\u0323\u0302 a\u0302\u0323 e\u0301\u0323\u0308 \u0301 x\u0301\u0301\u0301",
    "①②③ ½ ™ ㌀ ㍿ ｆｕｌｌｗｉｄｔｈ ﾊﾝｶｸ ｶﾞ ㌀\u0301 ①\u0301 ™\ufe0f",
    "Привет, мир! Ёлка й и\u0306. Γειά σου Κόσμε ς Σ. Ὀδυσσεύς.",
    "漢字かなカナ混じり文。 中文字符，标点。 한국어 조합 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "שָׁלוֹם עולם مرحبا بالعالم ﷺ ـــ ١٢٣ नमस्ते दुनिया क्षि ไทยภาษา ภาษา ខ្មែរ မြန်မာ",
    "👩‍👩‍👧‍👦 👍🏽 🏳️‍🌈 🇩🇪🇫🇷 ❤️ ☺︎ 🙂🙃 #️⃣ 1️⃣",
    "\x00\x01\x07\x08\x0b\x0c\x1b[0m\x7f\x80\x85\x9f soft\u00adhyphen \u202ertl\u202c \ufffd\ufffe\uffff",
    "\U0001d54f\U0001f9ff\U00020000\U000e0001\U0010ffff \ue000\uf8ff",
    "a" * 250 + " " + "antidisestablishmentarianism" * 20,
    "0123456789 1 12 123 1234 12345678901234567890 3.14159 -1e10 1,000,000",
    "https://example.org/a?b=c&d=%20#e user@example.org C:\\path\\to def f(x):\n    return x**2  # two",
    "▁ ▁▁a a▁b ▁ a",
    "Ġ Ċ <0x41> <0xE2> ## ##a #",
    "<s> </s> <unk> <pad> <mask> [CLS] [SEP] [MASK] [UNK] [PAD] <|endoftext|> <|im_start|>user",
    "x</s>y<s>z<|endoftext|>w[SEP]v",
    "…—–‘’“”«»¿¡§¶†‡•‰′″‹›⁄€№←↑→↓∀∂∃∅∈√∞≈≠≤≥",
    "CamelCaseWORDSand123numbers_and_underscores-and-hyphens ALLCAPS",
    bytes(range(128, 256)).decode("utf-8", "replace"),
)
TRAINING = (
    *TEXTS,
    *("Once upon a time there was a small cat. The cat was called Tom, and Tom liked the dog.",) * 8,
    *("The dog, however, could see 365 cats and the lazy fox; it's 12 o'clock in the world!",) * 8,
    *("The quick brown fox jumps over the lazy dog, and the lazy dog sleeps on and on.",) * 8,
)
