"""Sentences that summarize the last results for users."""

from benchmarks.results import Result, Run

_SENTENCES = {
    "lag": "A zip of 60 MB with 100 photographs, on a server that is polled every 2 s, is readable **{p50}** after it "
    "stopped changing there (median; 95 of 100 within {p95}).",
    "whole-archive": "100 photographs of 12 megapixels become readable rows, counted from the event, "
    "**{speed}** as fast as with a simple function that does one step after the other.",
    "jpeg-12mp": "A photograph of 12 megapixels becomes 224×224 **{speed}** as fast as Pillow decodes and shrinks it, "
    "and differs from that by {difference} of 255.",
    "read-back": "Training reads whole shards **{speed shards}** as fast as a blob for each image.",
    "sftp": "Copying by SFTP runs at **{rclone, tuned}** the speed of rclone tuned by hand, and hashes every byte.",
    "copy-memory": "A copy takes **{share}** the memory that rclone takes, which grows by {growth} from 256 MiB to "
    "4 GiB.",
    "flat-reads": "With 300,000 stored images, reading the newest ones and the status page take **{latest CPU}** and "
    "**{status CPU}** the processor time that they take with 300, and {latest requests} the requests.",
    "start": "A cold instance has loaded its functions after {seconds}, **{CPU}** what an empty app takes.",
}
"""Sentences by benchmark; fields in braces are names of its figures."""


def summarize(run: Run) -> str:
    """Return a summary of the last results, without benchmarks that have none."""
    results = {result.name: result for result in run.results if not result.missing}
    return "\n".join(f"- {_filled(text, results[name])}" for name, text in _SENTENCES.items() if name in results)


def _filled(text: str, result: Result) -> str:
    return text.format_map({number.figure: number for number in result.numbers})
