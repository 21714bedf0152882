import json

import pytest

from pose_regression.evaluation.paper import TABLE_1, TABLE_2, TABLE_3, TABLE_4, format_table, with_quoted


def test_table_is_aligned_markdown_with_gaps_for_what_is_unknown():
    table = format_table([("first", {"Total": 9.96}), ("the second", {"Head": 12.34, "Total": float("nan")})])
    assert table.split("\n") == [
        "|            | Head | Total |",
        "| ---------- | ---: | ----: |",
        "| first      |    - |  10.0 |",
        "| the second | 12.3 |     - |",
    ]


def test_quoted_rows_come_first_and_say_so():
    rows = with_quoted(TABLE_1, {"ours": {"Total": 80.0}})
    assert [label for label, _ in rows][-2:] == ["Soft-argmax, context, alpha = 0.8 (quoted)", "ours"]
    assert [scores["Total"] for _, scores in rows] == [85.3, 86.9, 88.7, 89.1, 80.0]


def test_columns_are_those_of_our_metrics():
    assert list(TABLE_2[0].scores) == ["Head", "Sho.", "Elb.", "Wri.", "Hip", "Knee", "Ank.", "PCK"]
    assert list(TABLE_3[0].scores) == ["Torso", "Upper leg", "Lower leg", "Upper arm", "Forearm", "Head", "PCP"]
    assert list(TABLE_4[0].scores) == ["Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle", "Total"]


def test_totals_lie_between_the_best_and_the_worst_joint():
    for row in (*TABLE_2[:-1], *TABLE_3, *TABLE_4):
        *joints, total = row.scores.values()
        assert min(joints) < total < max(joints), row.method


@pytest.mark.real_data
def test_quoted_lsp_rows_are_the_published_ones(pose_reference):
    methods = json.loads((pose_reference / "evaluation" / "lsp_expected.json").read_text())["methods"]
    published = [methods[key] for key in ("pishchulin13iccv:PC", "WeiCVPR16:PC", "BulatTzimiropoulosECCV16:PC")]
    assert [list(row.scores.values()) for row in TABLE_2[:3]] == [row["PCK@0.2"] for row in published]
    assert [list(row.scores.values()) for row in TABLE_3] == [row["PCP"] for row in published]
