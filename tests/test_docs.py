"""README and docs: the links lead somewhere, and the commands are ones that the parsers take."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from keras_inception import cli
from keras_inception.cli import flags

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands() -> list[str]:
    """The shell lines of README and docs that call a command of this package."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```(?:sh|bash)?\n(.*?)^```", page.read_text(), re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                line for line in lines if re.match(r"(keras-inception|\S*python3? train_tpu)", line)
            ]
    return sorted(set(found))


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_docs_is_parsed(line):
    words = shlex.split(re.split(r" [>|] ", line)[0], comments=True)
    if words[0] == "keras-inception" and words[1] != "train":
        cli.parser().parse_args(words[1:])
    else:
        flags.parse([words[0], *words[2:]])


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"
