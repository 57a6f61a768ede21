"""Reads the commands out of the Markdown pages, and the files that a reader is told to write.

Blocks tagged ``console`` hold commands after ``$ `` (continued after ``> ``) with what they print; ``sh`` blocks hold
commands that are only checked, and a comment before them says why; a block with ``title="PATH"`` is a file to write.
Indented blocks, blocks without a tag and code in running text are searched for lines that begin like a command.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

FENCE = re.compile(r"^( *)```(\w*)(.*)$")
TITLE = re.compile(r'title="([^"]+)"')
REASON = re.compile(r"^<!-- not run: (.+) -->$")
STARTS = ("make ", "snakemake", "python ", "python3 ", "git clone", ".venv/bin/", "HF_HUB_OFFLINE=1 ", "TORCH=")
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
APPEND = ", at the end"


@dataclass
class Block:
    """A block of a page: ``kind`` is the tag of its fence, ``indented`` for a block without one."""

    page: str
    line: int
    kind: str
    title: str = ""
    reason: str = ""
    lines: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Command:
    """One command line as it stands on a page, with what it is said to print (only in console blocks)."""

    page: str
    line: int
    text: str
    expected: str = ""

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages(root: Path) -> list[str]:
    """All pages, as paths below the top folder."""
    found = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    return [str(path.relative_to(root)) for path in found]


def blocks(root: Path, page: str) -> Iterator[Block]:
    """Blocks of a page in order."""
    current: Block | None = None
    before = ""
    for number, line in enumerate((root / page).read_text(encoding="utf-8").splitlines(), 1):
        fence = FENCE.match(line)
        if fence and current and current.kind != "indented":
            yield current
            current, before = None, ""
        elif fence:
            title, reason = TITLE.search(fence[3]), REASON.match(before)
            current = Block(page, number, fence[2], title[1] if title else "", reason[1] if reason else "")
        elif current and current.kind != "indented":
            current.lines.append(line)
        elif line.startswith("    ") and (current or not before):
            current = current or Block(page, number, "indented")
            current.lines.append(line[4:])
        else:
            if current:
                yield current
            current = None
        if line.strip() or not REASON.match(before):
            before = line.strip()
    if current:
        yield current


def console_commands(block: Block) -> Iterator[Command]:
    """Commands of a console block, each with the lines printed below it."""
    start, text, printed = 0, "", list[str]()
    for number, line in enumerate(block.lines, block.line + 1):
        if line.startswith("$ "):
            if text:
                yield Command(block.page, start, text, "\n".join(printed))
            start, text, printed = number, line[2:], []
        elif line.startswith("> ") and text.endswith("\\") and not printed:
            text = f"{text[:-1].rstrip()} {line[2:].strip()}"
        else:
            printed.append(line)
    if text:
        yield Command(block.page, start, text, "\n".join(printed))


def begins(line: str) -> bool:
    """True when a line begins like a command of this project."""
    return line.startswith(STARTS)


def written_commands(block: Block) -> Iterator[Command]:
    """Commands of a block that shows no output: every line, if it is an ``sh`` block or one line begins like one."""
    if block.kind not in ("sh", "indented", "") or not (block.kind == "sh" or any(map(begins, block.lines))):
        return
    text, start = "", 0
    for number, line in enumerate(block.lines, block.line + (block.kind != "indented")):
        start = start if text else number
        text = f"{text} {line.strip()}".strip()
        if text.endswith("\\"):
            text = text[:-1].rstrip()
            continue
        plain = re.sub(r"\s+#.*$|^#.*$", "", text)
        if plain:
            yield Command(block.page, start, plain)
        text = ""


def inline_commands(root: Path, page: str) -> Iterator[Command]:
    """Commands in running text: code that begins like one and goes on."""
    fenced = False
    for number, line in enumerate((root / page).read_text(encoding="utf-8").splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        if fenced or line.startswith("    "):
            continue
        for code in INLINE.findall(line):
            if code.startswith(STARTS) and len(code.split()) > 1:
                yield Command(page, number, code.replace("\\|", "|"))


def all_commands(root: Path) -> list[Command]:
    """Every command of every page."""
    found: list[Command] = []
    for page in pages(root):
        for block in blocks(root, page):
            found += console_commands(block) if block.kind == "console" else written_commands(block)
        found += inline_commands(root, page)
    return found
