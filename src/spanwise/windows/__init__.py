"""Question and context become token windows with offsets and labels."""

from spanwise.windows.cutting import make_windows, stream_windows
from spanwise.windows.labelling import label_tokens
from spanwise.windows.pairing import PairTokenizer

__all__ = ["PairTokenizer", "label_tokens", "make_windows", "stream_windows"]
