"""Format results as Markdown: a table of all benchmarks, and the details of each."""

from collections.abc import Iterator, Mapping, Sequence

from benchmarks.results import CandidateSummary, Number, Result, Run

_CANDIDATES = [
    "| candidate | seconds | from | to | own CPU s | servers' CPU s | peak MB |",
    "|---|--:|--:|--:|--:|--:|--:|",
]


def page(run: Run) -> str:
    """Return the whole page."""
    parts = [
        "# Results of the benchmarks",
        f"{run.at}, commit {run.commit}. Written by `make bench`. Ratios are medians over the rounds, with the lowest "
        "and the highest.",
        f"Machine: {_listed(run.machine)}. The servers and the emulator share it.",
        f"Versions: {_listed(run.versions)}.",
        summary(run),
        *(_details(result) for result in run.results),
    ]
    return "\n\n".join(parts) + "\n"


def summary(run: Run) -> str:
    """Return the table, followed by the reasons why goals are not met."""
    lines = ["| | task | compared with | result, goal |", "|---|---|---|---|", *map(_line, run.results)]
    judged = [result for result in run.results if any(number.goal for number in result.numbers)]
    met = sum(not result.missed for result in judged)
    parts = ["\n".join(lines), f"{met} of {len(judged)} rows with goals meet them all."]
    if shortfalls := "\n".join(_shortfalls(run.results)):
        parts += ["Reasons for missed goals, from profiles:", shortfalls]
    if older := [result for result in run.results if result.at != run.at]:
        parts.append("Of earlier runs: " + ", ".join(f"`{old.name}` ({old.at}, commit {old.commit})" for old in older))
    return "\n\n".join(parts)


def _line(result: Result) -> str:
    measured = _absent(result) or "; ".join(_judged(number) for number in result.numbers if number.goal)
    without_goals = "; ".join(f"{number.figure} {number}" for number in result.numbers)
    return f"| `{result.name}` | {result.task} | {result.against} | {measured or without_goals} |"


def _absent(result: Result) -> str:
    return f"{'failed' if result.failed else 'not measured'}: {result.missing}" if result.missing else ""


def _judged(number: Number) -> str:
    return f"{number.figure} **{number}** {number.goal} {'✓' if number.met else '✗'}"


def _shortfalls(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each reason, with all benchmarks to which it applies."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.missed:
            reasons.setdefault(result.why or "not explained yet", []).append(f"`{result.name}`")
    return (f"- {', '.join(names)}: {why}" for why, names in reasons.items())


def _details(result: Result) -> str:
    lines = [
        f"## {result.name}",
        "",
        f"{result.task}, compared with {result.against}. Prototype: {result.prototype}. "
        f"Measured {result.at}, commit {result.commit}, in {result.seconds:.0f} s.",
        "",
    ]
    if result.missing:
        return "\n".join([*lines, _absent(result)])
    for number in result.numbers:
        goal = f", goal {number.goal}: {'met' if number.met else 'not met'}" if number.goal else ""
        lines.append(f"- {number.figure}: **{number}** ({number.low:.2f} to {number.high:.2f}){goal}")
    lines += [f"- {note}" for note in result.notes]
    if result.missed and result.why:
        lines.append(f"- Why not: {result.why}")
    lines += [f"- processor time of {each.name}: {shares(each)}" for each in result.candidates if each.modules]
    if result.candidates:
        lines += ["", *_CANDIDATES, *map(_candidate, result.candidates)]
    return "\n".join(lines)


def shares(candidate: CandidateSummary) -> str:
    """Return the shares of a candidate's processor time by module."""
    return ", ".join(f"`{module}` {share:.0%}" for module, share in candidate.modules.items())


def _candidate(candidate: CandidateSummary) -> str:
    seconds = " | ".join(f"{each:.3f}" for each in (candidate.seconds, candidate.low, candidate.high))
    rest = f"{candidate.cpu:.2f} | {candidate.servers:.2f} | {candidate.peak / 1e6:.0f}"
    return f"| {candidate.name} | {seconds} | {rest} |"


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {text}" for name, text in values.items())
