"""Reference and hypotheses side by side."""

from hypothesis import given
from hypothesis import strategies as st

from spin.report.alignment import ADDED, MISSING, SAME, WRONG, align, choose_examples, word_errors

WORDS = st.lists(st.sampled_from(["A", "B", "C", "D"]), max_size=7)


def distance(first, second):
    """Edit distance by the textbook's table, as an oracle."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        before, row = row, [i]
        for j, right in enumerate(second, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
    return row[-1]


def test_by_hand():
    columns = align("THE CAT SAT".split(), ["THE BIG CAT SIT".split(), "CAT SAT DOWN".split()])
    assert [column.reference for column in columns] == ["THE", "", "CAT", "SAT", ""]
    assert [column.words[0] for column in columns] == [("THE", SAME), ("BIG", ADDED), ("CAT", SAME), ("SIT", WRONG), ("", SAME)]
    assert [column.words[1] for column in columns] == [("", MISSING), ("", SAME), ("CAT", SAME), ("SAT", SAME), ("DOWN", ADDED)]
    assert [word_errors(columns, index) for index in (0, 1)] == [2, 2]
    assert [column.words for column in align(["A"], [[], []])] == [(("", MISSING), ("", MISSING))]


@given(WORDS, WORDS, WORDS)
def test_every_word_is_kept_and_errors_are_the_edit_distance(reference, first, second):
    columns = align(reference, [first, second])
    assert [column.reference for column in columns if column.reference] == reference
    for index, hypothesis in enumerate((first, second)):
        assert [column.words[index][0] for column in columns if column.words[index][0]] == hypothesis
        assert word_errors(columns, index) == distance(reference, hypothesis)


def test_choice_shows_all_three_kinds():
    texts = {
        "helped": (["A", "B", "C"], [["X", "Y", "C"], ["A", "B", "C"]]),
        "helped_less": (["A", "B"], [["X", "B"], ["A", "B"]]),
        "helped_least": (["A", "B"], [["A", "X"], ["A", "B"]]),
        "hurt": (["A"], [["A"], ["B"]]),
        "same": (["A"], [["A"], ["A"]]),
        "empty": ([], [["A"], ["A"]]),
    }
    chosen = choose_examples(texts, ("baseline", "spin"), 1)
    assert [item.utterance_id for item in chosen] == ["helped", "helped_least", "same", "hurt"]
    assert [item.errors for item in chosen] == [(2, 0), (1, 0), (0, 0), (0, 1)]
    assert choose_examples({}, ("baseline", "spin"), 1) == []
