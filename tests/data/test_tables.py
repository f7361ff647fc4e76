"""Tables as programs and people write them: read as they were written, or refused with the line."""

import csv
import io

import hypothesis
import hypothesis.strategies as st
import pytest

from seqmodels.data import hashed_splits, labeled_texts
from seqmodels.data.captions import read_captions
from seqmodels.data.sentence_pairs import Pair, read_tsv
from seqmodels.data.tables import read_table


@pytest.fixture
def file(tmp_path):
    def write(text, name="a.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    ("text", "encoding", "notes"),
    [
        ("a;b\n1,5;x\n2,5;y\n", "utf-8", ('separator ";"',)),
        ("a|b\n1,5|x\n2,5|y", "utf-8", ('separator "|"',)),
        ("a\tb\r1,5\tx\r2,5\ty\r", "utf-8", ('separator "tab"',)),
        ('a,b\r\n"1,5",x\r\n"2,5",y\r\n\r\n', "utf-8-sig", ()),
        ("# made by hand\n\n#\n a ;b;\n1,5;x;\n2,5;y;\n;;\n", "utf-8",
         ("2 lines before the header left out", 'separator ";"')),
        ("sep=;\na;b\n1,5;x\n2,5;y\n", "utf-16", ("UTF-16", 'separator ";"')),
        ('a, b ,\n "1,5" , x\n"2,5", "y"\n', "utf-8", ()),
        ('"a";"b"\n"1,5";"x"\n"2,5";y\n', "utf-16", ("UTF-16", 'separator ";"')),
    ],
)  # fmt: skip
def test_one_table_in_many_forms(file, text, encoding, notes):
    table = read_table(file(text, encoding=encoding))
    assert (table.columns, table.notes) == (("a", "b"), notes)
    assert table.column("a") == ["1,5", "2,5"]
    assert table.column("b") == ["x", "y"]


def test_line_breaks_quotes_and_long_cells(file):
    long = "word " * 40_000
    table = read_table(file(f'a,b\r\n"one\r\ntwo ""2""",1\r\n\r\n5" wide,2\r\n"{long}",3\r\n'))
    assert table.texts("a") == ['one\r\ntwo "2"', '5" wide', long]
    assert [table.line(row) for row in range(3)] == [2, 5, 6]
    assert table.line(0, "b") == 3
    assert table.place(0, "b").endswith("a.csv, line 3: b")
    assert read_table(file("a\n1\n\n2\n\n"), keep_empty=True).column("a") == ["1", "", "2"]
    assert read_table(file("a,b\nx\n")).rows == [["x", ""]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only this\n", "is empty"),
        ("a,b\n,\n", "without rows"),
        ("a,b\n1,2\n1,2,3\n", "line 3: got a row of 3 cells, expected the 2"),
        ("a|b\nx|y|1\n", r"line 2: got a row of 3 cells.*a cell with \| in it"),
        ("a;b,c\n1;2,3\n", "may be separated by ; or ,, expected one that fits; a line sep=;"),
        ("a;b; a \n1;2;3\n", "line 1 of .*a.csv has two columns 'a'"),
        ('a,b\nx,1\n"y,2\nz,3\n', "line 3: a cell begins with a quote that is never closed"),
        ('a,b\nx,1\n"y,2\nz,3\n"u,4\n', "line 3: .*2 lines later, is followed by 'u,4'"),
        ('a,b\n1,"x" y\n', "line 2: a cell .*its closing quote is followed by ' y'"),
        ('a;b\n"p;no\n";no\nq;yes\nr;no\n', "line 2: .*the line to 3, which are rows"),
        ('a,b\nno,"p\nyes,q\nno,r\nyes,s"\nyes,t\nno,u\n', "line 2: .*the lines to 5"),
        ('a,b\n1.png,"p\n2.png,q\n3.png,r"\n4.png,s\n', "line 2: .*the lines to 4"),
        ('a,b,c\n1,"x\ny\n2,3,4\n', "line 2: .*never closed"),
        ('a,b,c\n1,"x\ny"\n2,3,4\n', "line 2: got a row of 2 cells.*several lines"),
        (b"a,b\nx,1\ny\xe9,2\n", "is not UTF-8 text: byte 0xe9 at position 9, line 3"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1: got a NUL character"),
        (b"\xff\xfea\x00,", "is not UTF-16 text"),
    ],
)
def test_what_is_refused(file, text, message):
    with pytest.raises(ValueError, match=message) as raised:
        read_table(file(text))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("csv: ")


def test_texts_captions_and_pairs_go_through_it(file, monkeypatch):
    path = file('file,caption\nred ball.png,"A red\r\nball"\nb.png,"on\n white"\n')
    assert read_captions(path) == (["red ball.png", "b.png"], ["a red ball", "on white"])
    with pytest.raises(ValueError, match=r"captions_file: .*line 3: got a row of 3 cells"):
        read_captions(file("file,caption\na.png,a\nb.png,b, c\n"))
    path = file('text;label\n"two;\nlines";none\nmore;NA\n;null\n')
    found = labeled_texts.read_csv(path, "text", "label")
    assert (found.texts, found.classes) == (["two;\nlines", "more", ""], ("NA", "none", "null"))
    assert found.lines.tolist() == [2, 4, 5]
    with pytest.raises(ValueError, match="line 4: label: got '1_0', expected a number"):
        labeled_texts.read_csv(file('text,label\n"a\nb",1\nc,1_0\n'), "text", "label", rating=True)
    rows = [f'"text {chr(97 + n)}\nhere",most\n' for n in range(12)]
    found = labeled_texts.read_csv(
        file("text,label\n" + "".join(rows) + "x,few\n"), "text", "label"
    )
    with pytest.raises(ValueError, match="class few of line 26 with 1 different texts"):
        hashed_splits.split_texts(
            found.texts, found.labels,
            describe=lambda label, row: f"{found.classes[label]} of line {found.lines[row]}",
        )  # fmt: skip
    plain = '"Hi," she said.\tHallo.\n"A"\tB\n'
    assert read_tsv(file(plain, "p.tsv")) == [Pair('"Hi," she said.', "Hallo."), Pair('"A"', "B")]
    quoted = '"Say ""hi"""\tSag hallo\n"two\nlines"\tzwei\n'
    assert read_tsv(file(quoted, "q.txt")) == [
        Pair('Say "hi"', "Sag hallo"),
        Pair("two lines", "zwei"),
    ]
    assert read_tsv(file('"a, b";c\nd;e\n', "r.csv", "utf-16")) == [
        Pair("a, b", "c"),
        Pair("d", "e"),
    ]
    with pytest.raises(ValueError, match="line 2: got 'alone', expected a source, a tab"):
        read_tsv(file("a\tb\nalone\n", "s.tsv"))


SEPARATORS = [",", ";", "\t", "|"]
NAMES = st.lists(
    st.text("abcxyzÄ,;| '\"", min_size=1, max_size=6).filter(
        lambda name: name == name.strip() and any(letter in name for letter in "abcxyzÄ")
    ),
    min_size=2, max_size=4, unique=True,
)  # fmt: skip
CELLS = st.one_of(
    st.text("ab1 ,;|\t\n\r\"'#é😍", max_size=12),
    st.sampled_from(["", "NA", "none", "1,5", "x", "y", "2020-01-01"]),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
)


def check_what_is_drawn(path, data):
    names = data.draw(NAMES)
    rows = data.draw(
        st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=8)
    )
    separator = data.draw(st.sampled_from(SEPARATORS))
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    if any(mark in cell for row in rows for cell in row for mark in "\r\n"):
        quoting = csv.QUOTE_ALL  # csv.writer does not quote every line break
    with io.StringIO(newline="") as text:
        writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
        text.write(data.draw(st.sampled_from(["", "# a comment" + end])))
        writer.writerows([names, *rows])
        path.write_bytes(text.getvalue().encode(encoding))
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    try:
        table = read_table(path)
    except ValueError as error:
        message = str(error)
    else:
        assert list(table.columns) == names
        assert table.rows == filled
        return
    assert message.startswith("csv: ")
    assert len(message.splitlines()) == 1
    # Only a table whose cells look like rows, or have more than one reading, may be refused.
    everything = "".join([*names, *(cell for row in filled for cell in row)])
    assert not filled or any(mark in everything for mark in ",;|\t\r\n")


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=100, deadline=None)
def test_what_is_written_is_read(tmp_path_factory, data):
    check_what_is_drawn(tmp_path_factory.getbasetemp() / "drawn.csv", data)


@pytest.mark.slow
@hypothesis.given(st.data())
@hypothesis.settings(max_examples=2_000, deadline=None)
def test_much_that_is_written_is_read(tmp_path_factory, data):
    check_what_is_drawn(tmp_path_factory.getbasetemp() / "drawn.csv", data)
