"""Why a container ended, in words."""

import pytest

from run_launcher.endings import clean, explain, memory_limit


def test_lack_of_memory_names_the_limit_and_both_ways_to_raise_it(engine):
    attributes = engine.container(**{**engine.ENDED, "ExitCode": 137, "OOMKilled": True})
    attributes["Config"]["Labels"]["run.memory.max"] = "2g"
    message = explain(attributes, "")
    assert "out of memory" in message
    assert "1 GiB" in message
    assert "tag run.memory" in message
    assert "up to 2g, the label run.memory.max of the service ingestion in docker-compose.yml" in message
    assert "label run.memory." in message


@pytest.mark.parametrize(
    ("code", "words"),
    [(1, "exit code 1"), (137, "SIGKILL"), (139, "Signal 11"), (0, "os._exit()")],
)
def test_an_exit_code_is_put_into_words(engine, code, words):
    assert words in explain(engine.container(**{**engine.ENDED, "ExitCode": code}))


def test_what_the_engine_says_is_quoted(engine):
    state = {**engine.ENDED, "ExitCode": 127, "Error": 'exec: "dagster": executable file not found'}
    assert "executable file not found" in explain(engine.container(**state))


def test_the_last_twenty_lines_are_shown(engine):
    message = explain(engine.container(**engine.ENDED), "".join(f"line {n}\n" for n in range(50)))
    assert "line 49" in message
    assert "line 30" in message
    assert "line 29" not in message


def test_silence_is_told_from_output_that_could_not_be_read(engine):
    assert "wrote nothing" in explain(engine.container(**engine.ENDED), "\n")
    assert "wrote" not in explain(engine.container(**engine.ENDED), None)


def test_output_cannot_smuggle_control_characters_or_endless_lines_into_the_event_log():
    # A NUL is refused by Postgres, which would lose the explanation; colours garble the page.
    assert clean("\x1b[31mred\x1b[0m\x00 text\ttab") == "red text\ttab"
    assert len(clean("x" * 100_000)) < 600


@pytest.mark.parametrize(
    ("limit", "words"), [(1 << 30, "1 GiB"), (1536 << 20, "1.5 GiB"), (256 << 20, "256 MiB"), (0, "none of its own")]
)
def test_a_limit_is_written_as_people_write_it(limit, words):
    assert memory_limit({"HostConfig": {"Memory": limit}}) == words
