"""Why sources cannot be polled, in lines for a terminal: at the first poll that fails, and at each change."""

from collections.abc import Iterable, Iterator

from imagefeed.terminal import clean
from ingest.ports import SourceStateView


class SourceErrors:
    """What was last said of each source."""

    def __init__(self, source_states: SourceStateView, sources: Iterable[str]) -> None:
        self._source_states = source_states
        self._said: dict[str, str | None] = dict.fromkeys(sources)

    def news(self) -> Iterator[tuple[str, str]]:
        """Yield lines, each with its colour. Raises StoreUnavailableError."""
        for source, said in list(self._said.items()):
            source_state = self._source_states.look(source)
            outage = source_state.outage if source_state else None
            error = outage.error if outage else None
            self._said[source] = error
            if outage and error != said:
                what = "the server rejects us" if outage.refused else "no answer"
                yield f"{source}: {what}: {clean(outage.error)}", "red"
            elif said and not outage:
                yield f"{source}: it can be listed again", "green"
