"""Findings: the documentation of each slug is right, and many findings of one slug are counted."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ops.health.findings import ADVICE, FEW, Finding, Slug, few
from ops.health.limits import LIMITS
from ops.health.refusals import CURES

ELSEWHERE = {
    Slug.NOTHING_READABLE: "by the reason, see below",
    Slug.REFUSED: "by the reason, see below",
    Slug.NEAR_LIMIT: "by the limit, see limits.md",
}
PAGE = (Path(__file__).parents[4] / "docs/findings.md").read_text()


def test_the_page_has_a_row_for_each_slug_with_its_severity_and_its_cure() -> None:
    lines = [line.strip("|") for line in PAGE.splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    assert [(slug.strip("`"), severity, cure) for slug, severity, _, cure in rows] == [
        (slug, Finding(slug=slug).severity.name.lower(), ELSEWHERE.get(slug, ADVICE[slug])) for slug in Slug
    ]
    assert all(meaning.endswith(".") for _, _, meaning, _ in rows)


def test_the_page_has_the_cure_of_each_cause_of_a_refusal() -> None:
    table = PAGE.partition("| cause | cure |")[2]
    assert [line for line in table.splitlines()[2:] if line] == [
        f"| {cause} | {cure} |" for cause, cure in CURES.items()
    ]


def test_advice_is_by_the_reason_and_by_the_limit() -> None:
    hook = Finding(slug=Slug.REFUSED, source="radar", archive="a.b", detail="PREPROCESS_HOOK (hooks.py:3) failed: x")
    assert hook.advice == "fix the hook and deploy it, then `imagefeed replay --archive radar/a.b`"
    every = Finding(
        slug=Slug.NOTHING_READABLE, source="radar", detail="a frame has 9 x 9 pixels, but LIMIT_PIXELS allows 4"
    )
    assert every.advice == ("raise the setting that the reason names, then `imagefeed replay --refused --source radar`")
    near = Finding(slug=Slug.NEAR_LIMIT, source="radar", name="LIMIT_PIXELS")
    assert near.advice == LIMITS["LIMIT_PIXELS"].cure
    assert "LIMIT_OF_OLD" in Finding(slug=Slug.NEAR_LIMIT, source="radar", name="LIMIT_OF_OLD").advice


def test_advice_names_what_it_is_about() -> None:
    finding = Finding(slug=Slug.FAILED, source="radar", archive="20260301T115700Z.0000001e")
    assert finding.advice == "fix the cause, then `imagefeed replay --archive radar/20260301T115700Z.0000001e`"
    assert not [slug for slug in Slug if "{" in Finding(slug=slug, source="a", archive="b", name="c").advice]


@given(st.lists(st.sampled_from([("a", Slug.GAP), ("a", Slug.FAILED), ("b", Slug.GAP)]), max_size=50))
def test_none_is_lost_when_only_a_few_are_told(kinds: list[tuple[str, Slug]]) -> None:
    kept = list(few(Finding(source=source, slug=slug, name="x") for source, slug in kinds))
    for source, slug in set(kinds):
        names = [finding.name for finding in kept if (finding.source, finding.slug) == (source, slug)]
        number = kinds.count((source, slug))
        assert names == ["x"] * min(number, FEW) + [f"{number - FEW} more"] * (number > FEW)
