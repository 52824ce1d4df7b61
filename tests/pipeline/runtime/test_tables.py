"""The table formatter: columns in line, nothing wrapped or lost, Markdown as GitHub reads it."""

from __future__ import annotations

import pytest

from pipeline.runtime import tables
from pipeline.runtime.tables import LONGEST_WORD, Table, aligned_lines, markdown_table, print_tables


def test_words_stand_at_the_left_edge_and_numbers_at_the_right() -> None:
    lines = aligned_lines(("name", ">number"), [("a", "1,000"), ("longer", "2")])
    assert lines == ["name    number", "a        1,000", "longer       2"]


def test_a_long_line_is_broken_between_words_below_its_own_indent() -> None:
    line = "  valid: 3 ids are in no train piece"
    assert tables.broken(line, 20) == "  valid: 3 ids are\n    in no train\n    piece"
    assert tables.broken(line, 36) == tables.broken(line, None) == line
    assert tables.broken("a/path/that/is/longer", 8) == "a/path/that/is/longer"
    assert tables.broken("make it: python a.py b", 16) == "make it:\n  python a.py b"


def test_lines_without_headings_begin_with_the_first_row_and_a_short_row_ends_early() -> None:
    assert aligned_lines(("", ""), [("ok", "found"), ("failed",)]) == ["ok      found", "failed"]


def test_a_long_cell_is_neither_wrapped_nor_cut_and_no_cell_is_read_as_markup() -> None:
    long, marked = "x" * 3000, "[bold]not[/bold] :smile:"
    assert aligned_lines(("a", "b"), [(long, marked)])[1] == f"{long}  {marked}"


def test_markdown_has_a_ruler_that_tells_the_edge_and_a_bar_in_a_cell_is_no_new_cell() -> None:
    text = markdown_table(("name", ">number"), [("a|b", "1")])
    assert text.splitlines() == ["| name | number |", "| --- | ---: |", r"| a\|b | 1 |"]


def test_a_table_is_printed_with_its_title_and_notes_and_no_colour_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_tables([Table("Speed", ("host", ">rate"), (("bath", "12"),), ("a note",))])
    shown = capsys.readouterr().out
    assert [shown.count(word) for word in ("Speed", "host", "bath", "a note")] == [1, 1, 1, 1]
    assert "\x1b" not in shown and ">" not in shown


def test_in_a_file_a_table_is_no_wider_than_a_page_and_its_notes_are_whole_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    headings = tuple(f"column {number}" for number in range(20))
    cells = tuple(f"value-{number}" for number in range(20))
    note = "a note of many words " * 10
    print_tables([Table("Wide", headings, (cells,), (note.strip(),))])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert note.strip() in lines
    lines.remove(note.strip())
    assert max(map(len, lines)) <= 100
    assert set(cells) <= set(" ".join(lines).split())


@pytest.mark.parametrize("width", [30, 60, 80, 100])
def test_a_wide_table_fits_the_terminal_and_breaks_words_only_where_it_must(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PIPED_WIDTH", width)
    headings = ("stretch", ">steps", "hosts", "strategy", ">workers", ">tokens/s", ">per worker")
    cells = ("run/1", "1-4", "a/long/path/of/many/parts", "horovod", "2", "8,192", "4,096")
    print_tables([Table("Speed", headings, (cells,))])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(lines).split()
    for text in (*headings, *cells):
        if len(text) <= LONGEST_WORD:
            assert set(text.removeprefix(">").split()) <= set(words)
    # Nothing is lost; narrow terminals show the first column again in each part.
    assert sum(map(str.isalnum, "".join(words))) >= sum(
        map(str.isalnum, "".join(("Speed", *headings, *cells)))
    )


def test_columns_for_which_a_terminal_has_no_room_follow_below_with_the_keys_of_their_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PIPED_WIDTH", 60)
    headings = ("strategy", ">workers", "hosts", ">tokens/s", ">alone", ">repetitions")
    both = ("2", "dorchester + bath", "463,450 (462.7k-464.2k)", "96.2% (95.0-97.4)", "5")
    table = Table("Weak scaling", headings, (("horovod", *both), ("independent", *both)), keys=2)
    print_tables([table])
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert rows[0] == ["Weak", "scaling"]
    assert rows[1] == ["strategy", "workers", "hosts", "tokens/s"]
    assert rows[3][:4] == ["horovod", "2", "dorchester", "+"]
    begun = [row for row in rows if row[0] in ("strategy", "horovod", "independent")]
    assert begun[3:] == [
        ["strategy", "workers", "alone", "repetitions"],
        ["horovod", "2", "96.2%", "(95.0-97.4)", "5"],
        ["independent", "2", "96.2%", "(95.0-97.4)", "5"],
    ]
    print_tables([table])
    whole = capsys.readouterr().out
    monkeypatch.setattr(tables, "PIPED_WIDTH", 200)
    print_tables([table])
    assert capsys.readouterr().out.count("strategy") == 1 < whole.count("strategy")


def test_a_heading_stays_whole_while_breaking_words_in_cells_is_enough(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PIPED_WIDTH", 80)
    headings = ("hosts", "devices of rank 0", "strategy", ">workers", ">tokens/s", ">per worker")
    headings += (">of best", ">windows", "stretch")
    cells = ("vm", "CPU, cores 0, 1", "multiworker", "2", "59,772 (46.7k-67.5k)", "59,772")
    print_tables([Table("Speed", headings, ((*cells, "100%", "6", "s1/1, s2/1"),))])
    words = capsys.readouterr().out.split()
    assert {"devices", "strategy", "workers", "tokens/s", "windows", "stretch"} <= set(words)
    assert {"59,772", "cores", "100%", "s1/1,", "s2/1"} <= set(words)
