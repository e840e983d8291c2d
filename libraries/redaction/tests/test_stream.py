"""However a process cuts its output into pieces, nothing of a value comes through, and nothing else is lost."""

import random
import time

import pytest

from redaction import stream
from redaction.stream import Redactor
from redaction.values import Values

TEXT = (
    "2026-11-21 08:14:32 +0000 - dagster - INFO - wrote 27,004 rows\n"
    "contact anna.smith@example.com, phone +1 (415) 555-2671, card 4111 1111 1111 1111\r\n"
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3VS5JJcds3xfn/\nygWyF8PbnGy0AHB7MaXoJyKZQA==\n"
    "-----END RSA PRIVATE KEY-----\n"
    "naïve \U0001f6eb \x1b[31mpassword=hunter2\x1b[0m done, Anna Smith agreed\n"
    "no end"
)
EXPECTED = (
    "2026-11-21 08:14:32 +0000 - dagster - INFO - wrote 27,004 rows\n"
    "contact [email], phone [phone], card [card]\r\n"
    "[private key]\n"
    "naïve \U0001f6eb \x1b[31mpassword=[secret]\x1b[0m done, [personal] agreed\n"
    "no end"
)
HIDDEN = ("anna.smith", "example.com", "555-2671", "MIIEpA", "ygWyF8", "hunter2", "Smith")


@pytest.fixture
def values() -> Values:
    values = Values()
    values.add(["Anna Smith"])
    return values


def passed(redactor: Redactor, pieces: list[bytes]) -> str:
    return (b"".join(map(redactor.feed, pieces)) + redactor.finish()).decode()


def cut(data: bytes, at: list[int]) -> list[bytes]:
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_pieces_of_any_size_give_the_same(values: Values, size: int) -> None:
    data = TEXT.encode()
    pieces = cut(data, list(range(size, len(data), size)))
    assert passed(Redactor(values.spans), pieces).replace("\n\n", "\n") == EXPECTED


def test_every_single_cut_gives_the_same(values: Values) -> None:
    data = TEXT.encode()
    for at in range(len(data)):
        assert passed(Redactor(values.spans), cut(data, [at])) == EXPECTED


def test_a_silence_anywhere_shows_no_value(values: Values) -> None:
    data = TEXT.encode()
    for at in range(len(data)):
        redactor = Redactor(values.spans)
        shown = redactor.feed(data[:at]) + redactor.silence() + redactor.feed(data[at:]) + redactor.finish()
        for hidden in HIDDEN:
            assert hidden not in shown.decode(), (at, shown)


def test_silences_between_all_pieces_lose_nothing() -> None:
    data = ("x" * 30 + " rows 12,345 of flights\r30 % \r\nnext … ").encode() * 20
    dice = random.Random(7)
    for _ in range(50):
        redactor, shown = Redactor(), b""
        for piece in cut(data, sorted(dice.sample(range(len(data)), 40))):
            shown += redactor.feed(piece) + redactor.silence()
        assert shown + redactor.finish() == data


def test_a_prompt_streams_while_its_last_word_may_grow() -> None:
    redactor = Redactor()
    assert redactor.feed(b"Continue? (y/n) ") == b""
    assert redactor.silence() == b"Continue? (y/n) "
    assert redactor.silence() == b""
    assert redactor.feed(b"write to anna@exam") + redactor.silence() == b"write to "
    assert redactor.feed(b"ple.com\n") == b"[email]\n"


def test_what_was_passed_on_tells_what_comes_after() -> None:
    redactor = Redactor()
    assert redactor.feed(b"password: ") + redactor.silence() == b"password: "
    assert redactor.feed(b"hunter2\n") == b"[secret]\n"


def test_dots_and_bars_stream() -> None:
    redactor = Redactor()
    assert redactor.feed(b"...") + redactor.silence() == b"..."
    assert redactor.feed(b"\r 10 % done\r") == b"\r 10 % done\r"


def test_broken_utf8_comes_through_as_it_is() -> None:
    data = b"\xff\xfe caf\xc3 \xe2\x82 anna@example.com \xf0\x9f\x9b\xab\n\x80\n"
    for at in range(len(data)):
        assert Redactor().feed(data) == data.replace(b"anna@example.com", b"[email]")
        redactor = Redactor()
        assert redactor.feed(data[:at]) + redactor.feed(data[at:]) == data.replace(b"anna@example.com", b"[email]")


def test_a_line_without_end_takes_little_memory_and_hides_what_is_in_it() -> None:
    redactor, shown, held = Redactor(), 0, 0
    piece = b"word " * 3000 + b"anna@example.com " + b"word " * 10_000
    for _ in range(100):  # 7 MB
        out = redactor.feed(piece)
        assert b"example.com" not in out
        shown += len(out)
        held = max(held, len(redactor._text))
    shown += len(redactor.finish())
    assert held <= stream.LONGEST_LINE + len(piece)
    assert shown == 100 * len(piece.replace(b"anna@example.com", b"[email]"))


def test_a_value_across_the_cut_of_a_long_line_is_hidden() -> None:
    for shift in range(0, 40, 3):
        redactor = Redactor()
        start = b"w " * ((stream.LONGEST_LINE - stream.CONTEXT) // 2 - 20) + b"." * shift
        shown = b"".join(redactor.feed(piece) for piece in (start, b" anna@example.com ", b"x " * 5000, b"y " * 40_000))
        shown += redactor.finish()
        assert b"example.com" not in shown
        assert shown.count(b"[email]") == 1


def test_one_value_of_a_megabyte_is_dropped_as_one() -> None:
    redactor = Redactor()
    shown = redactor.feed(b"token=") + b"".join(redactor.feed(b"a" * 8192) for _ in range(128))
    shown += redactor.feed(b"aa bb\n") + redactor.finish()
    assert shown.startswith(b"token=[secret]")
    assert shown.endswith(b" bb\n")
    assert len(shown) < 100


def test_a_gigabyte_without_a_blank_is_passed_in_bounded_memory() -> None:
    redactor = Redactor()
    started = time.process_time()
    shown = sum(len(redactor.feed(b"a" * 65_536)) for _ in range(60))  # 4 MB of it
    assert shown + len(redactor.finish()) > 3_500_000
    assert time.process_time() - started < 10


def test_lines_of_others_between_those_of_a_key_stay() -> None:
    begin, end = "-----BEGIN PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0Z3V\n", "AAAA\n-----END PRIVATE KEY-----\nafter\n"
    text = f"{begin}INFO another thread says hello\n{end}"
    assert Redactor().feed(text.encode()) == b"[private key]\nafter\n"
    redactor = Redactor()
    shown = b"".join(redactor.feed(line.encode()) for line in text.splitlines(keepends=True))
    assert shown == b"[private key]\nINFO another thread says hello\nafter\n"


def test_a_key_with_a_prefix_in_each_line_is_hidden() -> None:
    lines = [
        "-----BEGIN PRIVATE KEY-----",
        "MIIEpAIBAAKCAQEA0Z3V",
        "ygWyF8PbnGy0AHB7MaXo",
        "-----END PRIVATE KEY-----",
        "ok",
    ]
    redactor = Redactor()
    shown = b"".join(redactor.feed(f"12:00 INFO {line}\n".encode()) for line in lines)
    assert b"MIIE" not in shown
    assert b"ygWy" not in shown
    assert shown.endswith(b"12:00 INFO ok\n")


def test_a_key_that_never_ends_does_not_silence_the_log_for_ever() -> None:
    redactor = Redactor()
    redactor.feed(b"-----BEGIN PRIVATE KEY-----\n")
    shown = b"".join(redactor.feed(b"an ordinary line of the log\n") for _ in range(stream.KEY_LINES + 5))
    assert shown.count(b"ordinary") == stream.KEY_LINES + 5


def test_an_error_of_the_redaction_lets_nothing_through() -> None:
    def broken(text: str) -> list[tuple[int, int, str]]:
        raise ValueError(text)

    redactor = Redactor(broken)
    assert redactor.feed(b"anna@example.com\n") == stream.FAILED
    assert redactor.feed(b"anna@example.com\n") == stream.FAILED
