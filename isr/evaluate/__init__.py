"""Evaluation: PSNR, SSIM and flicker of networks beside bicubic, for every picture or clip and on average."""

from isr.evaluate.files import EvaluateOptions, evaluate_files
from isr.evaluate.score import evaluate, evaluate_clips
from isr.evaluate.sets import count_frames, describe_degradation, holds_clips, read_clips, read_pairs
from isr.evaluate.table import BICUBIC, ClipProtocol, Figures, Protocol, Row, Table

__all__ = [
    "BICUBIC",
    "ClipProtocol",
    "EvaluateOptions",
    "Figures",
    "Protocol",
    "Row",
    "Table",
    "count_frames",
    "describe_degradation",
    "evaluate",
    "evaluate_clips",
    "evaluate_files",
    "holds_clips",
    "read_clips",
    "read_pairs",
]
