import pytest

from operations.errors import StackError
from operations.locations.yaml_text import YamlText

FILE = """\
# The head.
networks: [edge, sales]   # of all
volumes:
  lake-sales: {}
  # Logs of the sales.
  logs-sales: {}

services:
  # Sells.
  sales:
    networks: [sales]
    volumes:
      - lake-sales:/lake   # the lake

  web:
    networks: {edge: {aliases: [w]}, sales: {}}
    depends_on:
      sales: {condition: service_started}
    command: >-
      one
      two
empty: {}
"""


@pytest.mark.parametrize(
    ("path", "entry", "after", "line"),
    [
        (("networks",), "demo", ["sales"], "networks: [edge, sales, demo]   # of all\n"),
        (("networks",), "demo", ["edge"], "networks: [edge, demo, sales]   # of all\n"),
        (("volumes",), "demo", ["lake-sales"], "  lake-sales: {}\n  demo: {}\n"),
        (("volumes",), "demo", [], "  logs-sales: {}\n  demo: {}\n\nservices:"),
        (("services", "sales", "volumes"), "demo:/x", [], "      - lake-sales:/lake   # the lake\n      - demo:/x\n"),
        (("services", "web", "networks"), "demo", ["sales"], "{edge: {aliases: [w]}, sales: {}, demo: {}}\n"),
        (("services", "web", "depends_on"), "demo", ["sales"], "      demo: {}\n    command: >-"),
        (("services", "web"), "demo", ["command"], "      two\n    demo: {}\nempty"),
        (("empty",), "demo", [], "empty: {demo: {}}\n"),
    ],
)
def test_an_entry_is_added_where_it_belongs_and_removed_without_a_trace(
    path: tuple[str, ...], entry: str, after: list[str], line: str
) -> None:
    edited = YamlText("x.yml", FILE)
    edited.add(path, entry, after=after)
    assert line in edited.text
    once = edited.text
    edited.add(path, entry, after=after)
    assert edited.text == once
    edited.remove(path, lambda found: found == entry)
    assert edited.text == FILE


def test_a_block_of_its_own_is_written_as_it_is_given() -> None:
    edited = YamlText("x.yml", FILE)
    lines = "\n  # New.\n  demo:\n    image: x\n"
    edited.add(("services",), "demo", after=["sales"], lines=lines)
    assert f"# the lake\n{lines}\n  web:" in edited.text
    edited.remove(("services",), lambda found: found == "demo")
    assert edited.text == FILE


def test_the_comment_of_an_entry_goes_with_it_and_others_stay() -> None:
    edited = YamlText("x.yml", FILE)
    edited.remove(("volumes",), lambda found: found == "logs-sales")
    assert "Logs of the sales" not in edited.text
    edited.remove(("services",), lambda found: found == "sales")
    assert "services:\n  web:" in edited.text
    assert "# The head." in edited.text


def test_a_block_that_loses_its_last_entry_is_still_a_map_or_a_list() -> None:
    edited = YamlText("x.yml", FILE)
    edited.remove(("volumes",), lambda _: True)
    edited.remove(("services", "sales", "volumes"), lambda _: True)
    assert edited.get("volumes") == {}
    assert edited.get("services", "sales", "volumes") == []


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a: &both [x]\nb: *both\n", ("a",)),
        ("a: &both {x: 1}\nb: *both\n", ("b",)),
        ("a: text\n", ("a",)),
        ("a: [x]\n", ("b",)),
        ("a:\n", ("a",)),
        ("a: [x\n  # why not\n  ,]\n", ("a", 0)),
        ("a: {<<: {x: 1}}\n", ("a", "x")),
        ("a: {<<: {x: 1, y: 2}, z: 3}\n", ("a",)),
    ],
)
def test_what_cannot_be_edited_safely_is_left_as_it_is_and_said(text: str, path: tuple[str, ...]) -> None:
    edited = YamlText("x.yml", text)
    with pytest.raises(StackError, match=r"x\.yml cannot be edited here"):
        edited.add(path, "demo")
    assert edited.text == text


def test_an_alias_that_shares_the_entry_is_not_edited_by_the_way() -> None:
    text = "a: &both [x, demo]\nb: *both\n"
    edited = YamlText("x.yml", text)
    with pytest.raises(StackError, match="remove demo from a"):
        edited.remove(("a",), lambda found: found == "demo")
    assert edited.text == text


def test_composes_own_tags_are_kept() -> None:
    edited = YamlText("x.yml", "a: !override {b: 1}\nc: !reset null\n")
    edited.add(("a",), "d", "!override [1]")
    assert edited.text == "a: !override {b: 1, d: !override [1]}\nc: !reset null\n"
    assert edited.get("a", "d") == [1]


def test_a_file_that_is_no_yaml_is_named() -> None:
    with pytest.raises(StackError, match=r"x\.yml is no YAML"):
        YamlText("x.yml", "a: [")
