from pose_regression.evaluation.paper import format_table, quoted_rows, with_quoted


def test_table_is_aligned_markdown_with_gaps_for_what_is_unknown():
    table = format_table([("first", {"Total": 9.96}), ("the second", {"Head": 12.34, "Total": float("nan")})])
    assert table.split("\n") == [
        "|            | Head | Total |",
        "| ---------- | ---: | ----: |",
        "| first      |    - |  10.0 |",
        "| the second | 12.3 |     - |",
    ]


def test_quoted_rows_come_first_and_say_so():
    table = quoted_rows("somewhere", "Upper_leg Total", {"first": (80.0, 85.3), "second": (81.0, 89.1)})
    assert [row.source for row in table] == ["somewhere"] * 2
    rows = with_quoted(table, {"ours": {"Total": 80.0}})
    assert [label for label, _ in rows] == ["first (quoted)", "second (quoted)", "ours"]
    assert rows[0][1] == {"Upper leg": 80.0, "Total": 85.3} and rows[2][1] == {"Total": 80.0}
