"""Which of two evaluations is better, said in plain sentences."""

from typing import Literal

from pipeline.evaluation.comparison import Comparison
from pipeline.metrics.paired import MIN_DIFFERING, PairedDifference
from pipeline.wording import count_of, enumerate_names

Verdict = Literal["better", "worse", "undecided", "identical"]
"""Of the other, against the baseline."""
SIGNIFICANT = 0.05
NAMED = 20
"""Cases that a sentence names; comparison.json has all."""


def verdict_of(pair: Comparison) -> Verdict:
    """Better or worse where p is below 0.05 after Holm's correction and the interval does not include 0.

    The test is of ranks and the interval is of the mean: where a few large differences outweigh many small ones of the
    other sign, the median shows it, and nothing is claimed.
    """
    tested = pair.mean_dice
    if pair.identical:
        return "identical"
    if tested.p_holm is None or tested.p_holm >= SIGNIFICANT or _includes_0(tested.ci95) or _is_divided(tested):
        return "undecided"
    return "better" if (tested.mean_difference or 0) > 0 else "worse"


def sentences_of(pair: Comparison, pairs: int) -> list[str]:
    """The verdict in a sentence, and one for whatever it does not count.

    Args:
        pair: the comparison.
        pairs: how many there are, for which p-values were corrected.
    """
    return [_verdict_sentence(pair, pairs), *_case_sentences(pair), *pair.notes]


def _verdict_sentence(pair: Comparison, pairs: int) -> str:
    baseline, other = pair.baseline.name, pair.other.name
    verdict, tested = verdict_of(pair), pair.mean_dice
    if verdict == "identical":
        return f"{other} and {baseline}: the two runs scored the same on every case (n = {len(pair.cases.common)})."
    if tested.mean_difference is None:
        return f"It cannot be told whether {other} or {baseline} is better: no case has a Dice in both."
    if verdict == "undecided":
        facts = _facts(pair, pairs, sign=1, signed=True)
        return f"It cannot be told whether {other} or {baseline} is better: {_doubt(pair)} ({facts})."
    winner, loser, sign = (other, baseline, 1) if verdict == "better" else (baseline, other, -1)
    gain = sign * tested.mean_difference
    return (
        f"{winner} is better than {loser}: its mean Dice per case is higher by {gain:.3g} "
        f"({_facts(pair, pairs, sign=sign, signed=False)})."
    )


def _facts(pair: Comparison, pairs: int, *, sign: int, signed: bool) -> str:
    """Difference, interval, p and n, turned so that the winner's advantage is above 0."""
    tested, facts = pair.mean_dice, []
    if signed and tested.mean_difference is not None:
        facts.append(f"mean difference {tested.mean_difference:+.3g}")
    if tested.ci95 is not None:
        low, high = sorted(sign * end for end in tested.ci95)
        facts.append(f"95 % interval {low:.3g} to {high:.3g}")
    if tested.p_holm is not None:
        correction = f" after Holm's correction for {pairs} comparisons" if pairs > 1 else ""
        facts.append(f"Wilcoxon signed-rank {p_text(tested.p_holm)}{correction}")
    return ", ".join([*facts, f"n = {tested.n}"])


def _doubt(pair: Comparison) -> str:
    tested = pair.mean_dice
    differing = tested.n - tested.ties
    if not differing:
        return "their mean Dice is the same in every case, though other scores differ"
    if tested.p_holm is None:
        few = "just one case differs" if differing == 1 else f"only {differing} cases differ"
        return f"{few}, and below {MIN_DIFFERING} no p-value is claimed"
    if _includes_0(tested.ci95):
        return "the interval of the difference in mean Dice per case includes 0"
    if tested.p_holm >= SIGNIFICANT:
        return f"p is not below {SIGNIFICANT}"
    return "the mean difference is of one sign and the median difference of the other"


def _case_sentences(pair: Comparison) -> list[str]:
    baseline, other, cases = pair.baseline.name, pair.other.name, pair.cases
    lists = [
        (cases.failed_in_other, f"failed in {other} alone, which the differences do not count"),
        (cases.failed_in_baseline, f"failed in {baseline} alone, which the differences do not count"),
        (cases.failed_in_both, "failed in both"),
        (cases.only_in_other, f"scored in {other} alone"),
        (cases.only_in_baseline, f"scored in {baseline} alone"),
    ]
    sentences = [
        f"{count_of(len(names), 'case')} {what}: {enumerate_names(names, NAMED)}." for names, what in lists if names
    ]
    found = sum(pair.scored_in_one.values())
    if found:
        sentences.append(
            f"{count_of(found, 'structure')} of common cases scored in one run alone and compared nowhere: absent from "
            "the reference, and predicted by one of the two."
        )
    return sentences


def p_text(p: float) -> str:
    """A p-value with three decimals.

    Example:
        >>> p_text(0.0421), p_text(0.00002)
        ('p = 0.042', 'p < 0.001')
    """
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _includes_0(interval: tuple[float, float] | None) -> bool:
    return interval is None or interval[0] <= 0 <= interval[1]


def _is_divided(tested: PairedDifference) -> bool:
    return (tested.mean_difference or 0) * (tested.median_difference or 0) < 0
