"""All benchmarks, in the order of the table."""

from benchmarks import archives, copying, decoding, lag, scale, scaling_reads, starting, storing, watching
from benchmarks.bench import Benchmark

BENCHMARKS: tuple[Benchmark, ...] = (
    *copying.BENCHMARKS,
    *decoding.BENCHMARKS,
    *archives.BENCHMARKS,
    *storing.BENCHMARKS,
    *lag.BENCHMARKS,
    *scaling_reads.BENCHMARKS,
    *watching.BENCHMARKS,
    *starting.BENCHMARKS,
    *scale.BENCHMARKS,
)
