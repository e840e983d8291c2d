import pytest

from operations.locations.settings_text import added, without

TEXT = """\
# Of all.

# --- What runs ---
# The files.
FILES=a
# Tags.
A_TAG=local
B_TAG=local

# --- Mail ---
# To whom.
MAIL_TO=
MAIL_FROM=
# Where.
MAIL_HOST=
"""


def test_a_setting_comes_behind_its_neighbours_and_goes_again() -> None:
    text = added(TEXT, "C_TAG=local", ["A_TAG", "B_TAG"], "# Tags.")
    assert "B_TAG=local\nC_TAG=local\n\n" in text
    assert added(text, "C_TAG=other", ["A_TAG"], "# Tags.") == text
    assert without(text, {"C_TAG"}) == TEXT


def test_without_a_neighbour_it_stands_at_the_end_under_a_comment_and_both_go_again() -> None:
    text = added(TEXT, "C_TAG=local", [], "# Tags.")
    assert text == TEXT + "\n# Tags.\nC_TAG=local\n"
    assert without(text, {"C_TAG"}) == TEXT


@pytest.mark.parametrize(
    ("gone", "lost"),
    [
        ({"A_TAG"}, ["A_TAG=local\n"]),
        ({"A_TAG", "B_TAG"}, ["# Tags.\nA_TAG=local\nB_TAG=local\n"]),
        ({"FILES"}, ["# The files.\nFILES=a\n"]),
        ({"MAIL_TO"}, ["MAIL_TO=\n"]),
        ({"MAIL_TO", "MAIL_FROM"}, ["# To whom.\nMAIL_TO=\nMAIL_FROM=\n"]),
        ({"MAIL_HOST"}, ["# Where.\nMAIL_HOST=\n"]),
        ({"MAIL_TO", "MAIL_FROM", "MAIL_HOST"}, ["\n# --- Mail ---\n" + TEXT.partition("# --- Mail ---\n")[2]]),
        ({"NONE"}, []),
    ],
)
def test_a_comment_goes_with_the_last_setting_below_it_and_a_heading_with_its_block(
    gone: set[str], lost: list[str]
) -> None:
    expected = TEXT
    for part in lost:
        assert part in expected
        expected = expected.replace(part, "")
    assert without(TEXT, gone) == expected
