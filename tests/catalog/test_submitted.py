"""The journal of a submission: what was written stays, what was cut off never counted, what is not its own is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.submitted import JOURNAL_NAME, Fate, Journal, JournalCorrupt, Sent, read_journal

ONE = Sent(statement="aa" * 32, file="001.stretto", fate=Fate.FINAL, index=7, height=3, block_time_ms=1)
TWO = Sent(statement="bb" * 32, file="002.stretto", fate=Fate.REFUSED, reason="wrong «key»")


def write(folder: Path, *sent: Sent) -> bytes:
    with Journal(folder) as journal:
        for one in sent:
            journal.write(one)
    return (folder / JOURNAL_NAME).read_bytes()


def test_what_is_written_is_read_and_the_last_word_counts(tmp_path: Path) -> None:
    assert read_journal(tmp_path) == {}
    write(tmp_path, Sent(statement=ONE.statement, file=ONE.file, fate=Fate.ACCEPTED), TWO)
    write(tmp_path, ONE)
    assert read_journal(tmp_path) == {ONE.statement: ONE, TWO.statement: TWO}


def test_a_line_cut_off_anywhere_is_as_if_it_was_never_written(tmp_path: Path) -> None:
    first = len(write(tmp_path, ONE))
    whole = write(tmp_path, TWO)
    for length in range(first, len(whole)):
        (tmp_path / JOURNAL_NAME).write_bytes(whole[:length])
        assert read_journal(tmp_path) == {ONE.statement: ONE}
        assert write(tmp_path, TWO) == whole


GOOD = b'{"fate":"final","file":"x","statement":"' + b"ab" * 32 + b'"'


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"{}",
        b'{"fate":"gone","file":"x","statement":"' + b"ab" * 32 + b'"}',
        b'{"fate":"final","file":"x","statement":"y"}',
        b'{"fate":"final","file":"x","statement":["y"]}',
        GOOD + b',"index":"7"}',
        GOOD + b',"index":-1}',
        GOOD + b',"index":1e999}',
        GOOD + b',"reason":7}',
        GOOD + b',"more":7}',
        b"[]",
        b'"x"',
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_none_of_its_own_is_named(tmp_path: Path, line: bytes) -> None:
    data = write(tmp_path, ONE)
    (tmp_path / JOURNAL_NAME).write_bytes(data + line + b"\n")
    with pytest.raises(JournalCorrupt, match="line 2"):
        read_journal(tmp_path)
