"""From what was counted to the message, and to what a person should mend."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
from mlx_hub.registry.v1 import dataset_report_pb2 as pb

from services.runtime.report.near import THRESHOLD
from services.runtime.report.survey import Survey
from services.runtime.rows import Side
from services.runtime.trainable import NO_ROWS, Lines

_GROUPS, _PAIRS = 20, 100
# Shares above which it is worth a word.
_TRUNCATED, _REPEATED, _PADDED = 0.05, 0.01, 0.3


def summarize(survey: Survey, parameters: pb.ReportParameters) -> pb.DatasetReport:
    """Write the report; the names in it are the registry's to fill in."""
    found = survey.untrainable
    report = pb.DatasetReport(
        parameters=parameters,
        rows=survey.rows,
        train_rows=survey.sides[Side.TRAIN],
        valid_rows=survey.sides[Side.VALID],
        test_rows=survey.sides[Side.TEST],
        tokens=_tokens(survey),
        truncated=_lines(survey.truncated),
        masked=_lines(found.masked),
        refused=_lines(found.refused),
        refusal=found.refusal,
        exact_duplicates=_duplicates(survey),
        near_duplicates=_near(survey),
        padding=_padding(survey, parameters),
        never_seen=_lines(survey.never_seen),
    )
    report.warnings.extend(
        pb.ReportWarning(code=code, text=text) for code, text in _warnings(survey, report)
    )
    return report


def _lines(lines: Lines) -> pb.RowLines:
    return pb.RowLines(count=lines.count, lines=lines.first)


def _tokens(survey: Survey) -> pb.TokenCounts:
    lengths = np.asarray(survey.lengths)
    if not len(lengths):
        return pb.TokenCounts()
    return pb.TokenCounts(
        total=float(lengths.sum(dtype=np.int64)),
        cut=survey.cut_tokens,
        trained=survey.trained_tokens,
        min=int(lengths.min()),
        mean=float(lengths.mean()),
        median=float(np.median(lengths)),
        p95=int(np.percentile(lengths, 95, method="inverted_cdf")),
        max=int(lengths.max()),
        histogram=_histogram(survey),
        max_trained=survey.max_trained,
    )


def _histogram(survey: Survey) -> Iterator[pb.TokenBucket]:
    """Count rows by the number of bits of their length."""
    sizes = Counter(length.bit_length() for length in survey.lengths)
    for bits in range(min(sizes), max(sizes) + 1):
        yield pb.TokenBucket(
            from_tokens=1 << (bits - 1) if bits else 0,
            to_tokens=(1 << bits) - 1,
            rows=sizes[bits],
        )


def _duplicates(survey: Survey) -> pb.ExactDuplicates:
    groups = survey.duplicates()
    return pb.ExactDuplicates(
        groups=len(groups),
        repeats=sum(len(group) - 1 for group in groups),
        samples=[
            pb.RowLines(count=len(group), lines=group[:100].tolist()) for group in groups[:_GROUPS]
        ],
    )


def _near(survey: Survey) -> pb.NearDuplicates:
    found = list(survey.near_pairs())
    shown = sorted(found, key=lambda item: not item[1])[:_PAIRS]
    return pb.NearDuplicates(
        threshold=THRESHOLD,
        compared_rows=len(survey.near),
        pairs=len(found),
        straddling_pairs=sum(straddles for _, straddles in found),
        complete=survey.near.complete,
        samples=[
            pb.NearPair(
                line=pair.first,
                other_line=pair.second,
                similarity=pair.similarity,
                straddles=straddles,
            )
            for pair, straddles in shown
        ],
    )


def _padding(survey: Survey, parameters: pb.ReportParameters) -> pb.Padding:
    padded, positions = survey.padding(parameters.batch_size, parameters.seed)
    share = padded / positions if positions else 0.0
    return pb.Padding(padded_positions=padded, positions=positions, share=share)


def _warnings(survey: Survey, report: pb.DatasetReport) -> Iterator[tuple[str, str]]:
    """Say what should be mended, the worst first."""
    found, limit = survey.untrainable, report.parameters.max_seq_length
    if not report.train_rows:
        yield "NO_TRAINING_ROWS", NO_ROWS
    if found.refused.count:
        yield "REFUSED_ROWS", found.refused_words()
    if found.masked.count:
        yield "MASKED_ROWS", found.masked_words(limit)
    if pairs := report.near_duplicates.straddling_pairs:
        first = report.near_duplicates.samples[0]
        yield (
            "LEAKAGE",
            f"{pairs} near-duplicate pairs have one row in training and one held out, such as "
            f"lines {first.line} and {first.other_line}; scores will look better than they are",
        )
    if survey.truncated.count > _TRUNCATED * report.rows:
        yield (
            "TRUNCATION",
            f"{survey.truncated.count} of {report.rows} rows are cut at {limit} tokens "
            f"({survey.truncated}); the longest has {report.tokens.max}",
        )
    if report.exact_duplicates.repeats > _REPEATED * report.rows:
        first_group = list(report.exact_duplicates.samples[0].lines)
        yield (
            "DUPLICATES",
            f"{report.exact_duplicates.repeats} of {report.rows} rows repeat another one, such as "
            f"{Lines(report.exact_duplicates.samples[0].count, first_group)}",
        )
    if report.padding.share > _PADDED:
        yield (
            "PADDING",
            f"{report.padding.share:.0%} of what a step computes is padding; "
            "lower batch_size or remove very long rows",
        )
