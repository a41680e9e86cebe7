from __future__ import annotations

from headway.cli.tables import metrics_table, number, table

VALUE = {"value": 0.5, "low": 0.25, "high": 0.75}


def test_columns_are_aligned() -> None:
    assert table(["name", "value"], [["a", "1"], ["long", "1000"]]).splitlines() == [
        "name  value",
        "----  -----",
        "a         1",
        "long   1000",
    ]


def test_a_number_stands_with_its_interval() -> None:
    assert number(VALUE) == "0.5000 [0.2500, 0.7500]"


def test_the_main_metric_comes_first_and_beside_the_baselines() -> None:
    metrics = {
        "main_metric": "mcc",
        "metrics": {"validation": {"accuracy": VALUE, "mcc": VALUE}},
        "baselines": {"majority": {"validation": {"accuracy": VALUE, "mcc": VALUE}}},
        "collapsed": True,
    }
    lines = metrics_table(metrics).splitlines()
    assert lines[2].startswith("mcc")
    assert any(line.startswith("majority") for line in lines)
    assert "collapsed" in lines[-1]


def test_nothing_to_score_is_said() -> None:
    assert "nothing was scored" in metrics_table({"main_metric": "mcc", "metrics": {}})
