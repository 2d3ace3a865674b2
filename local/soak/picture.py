"""Draw the memory of host and workers over time, with the ends of the host."""

from collections.abc import Iterator, Sequence
from html import escape

from local.soak.memory import Memory, MemorySample, Role

_WIDTH, _HEIGHT = 960, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 40, 40
_COLOURS = {Role.WORKER: "#0f6cbd", Role.HOST: "#7a7574"}
_MARK = "#c4314b"
_MIB = 2**20
_STEPS = 4
_MINUTES = (1, 2, 5, 10, 20, 60)
_MOST_TICKS = 10


def draw_memory(memory: Memory, ends: Sequence[float], seconds: float) -> str:
    """Return an SVG of the resident memory of every host and worker; `ends` are the times in seconds of host ends."""
    highest = max((sample.size for life in memory.lives.values() for sample in life), default=_MIB) / _MIB
    step = max(round(highest / _STEPS / 50 + 0.5) * 50, 50)
    top = step * _STEPS

    def x(at: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at / max(seconds, 1)

    def y(mib: float) -> float:
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * mib / top

    def line(life: Sequence[MemorySample]) -> str:
        return " ".join(f"{x(sample.at):.1f},{y(sample.size / _MIB):.1f}" for sample in life)

    def shapes() -> Iterator[str]:
        for number in range(_STEPS + 1):
            at = y(number * step)
            yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e1dfdd"/>'
            yield _text(_LEFT - 8, at + 4, f"{number * step}", "end")
        minutes = next((step for step in _MINUTES if seconds / 60 / step <= _MOST_TICKS), _MINUTES[-1])
        for minute in range(0, int(seconds / 60) + 1, minutes):
            yield _text(x(minute * 60), _HEIGHT - _BOTTOM + 20, f"{minute}", "middle")
        for end in ends:
            yield (
                f'<line x1="{x(end):.1f}" x2="{x(end):.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="{_MARK}" '
                'stroke-dasharray="3 3"/>'
            )
        for (role, _), life in memory.lives.items():
            yield f'<polyline points="{line(life)}" fill="none" stroke="{_COLOURS[role]}" stroke-width="1.5"/>'
        yield _text(_LEFT, 20, "resident memory in MiB, over minutes", "start")
        legend = ((_COLOURS[Role.WORKER], "worker"), (_COLOURS[Role.HOST], "host"), (_MARK, "host ended"))
        for number, (colour, name) in enumerate(legend):
            left = _WIDTH - 300 + 100 * number
            yield f'<rect x="{left}" y="13" width="14" height="4" fill="{colour}"/>' + _text(
                left + 20, 20, name, "start"
            )

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="#fff"/>{"".join(shapes())}</svg>\n'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#323130">{escape(text)}</text>'
