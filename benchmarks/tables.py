"""Print results in a terminal."""

from collections.abc import Iterator, Sequence

from benchmarks.results import CandidateSummary, Result


def show(result: Result, *, quick: bool) -> None:
    """Print one benchmark: its figures and goals, the measurements of each candidate, and the total time."""
    if result.missing:
        print("  FAILED" if result.failed else f"  not measured: {result.missing}")
    for number in result.numbers:
        judged = "" if quick or number.met is None else "  met" if number.met else "  NOT MET"
        goal = f"  goal {number.goal}" if number.goal else ""
        print(f"  {number.figure}: {number} ({number.low:.2f} to {number.high:.2f}){goal}{judged}")
    for line in [*result.notes, *_candidates(result.candidates)]:
        print(f"  {line}")
    print(f"  took {result.seconds:.0f} s", flush=True)


def _candidates(candidates: Sequence[CandidateSummary]) -> Iterator[str]:
    if not candidates:
        return
    width = max(len(candidate.name) for candidate in candidates)
    yield f"{'':{width}}" + "".join(f"{name:>9}" for name in ("seconds", "from", "to", "own CPU", "servers", "peak MB"))
    for candidate in candidates:
        times = (candidate.seconds, candidate.low, candidate.high, candidate.cpu, candidate.servers)
        yield f"{candidate.name:{width}}{''.join(f'{each:9.3f}' for each in times)}{candidate.peak / 1e6:9.0f}"
