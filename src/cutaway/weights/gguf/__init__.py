"""One .gguf file <-> a model and its tokenizer. In: a path. Out: what llama.cpp would run, and the other way round.

reader (the file, checked before anything is allocated) · kinds (how numbers lie in it) · architectures (whose tensor and key is
called what; masked, encoders and encoder_decoders hold some of them) · restated (what is written in another form) · load · save ·
vocabulary (the tokenizer inside the file; behind it cuts, pieces, unigram and words) · template (how it speaks) · package (the
optional package that is behind it).
"""

from .kinds import WRITABLE
from .load import Opened, load, read_config
from .save import save
from .template import read_template

__all__ = ["WRITABLE", "Opened", "load", "read_config", "read_template", "save"]
