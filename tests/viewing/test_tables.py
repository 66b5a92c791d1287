"""Tables, character by character, and rows that they refuse."""

import json

import pytest

from attn_research.viewing.tables import Cell, Column, Table, to_dict, to_markdown

COLUMNS = (Column("model"), Column("BLEU"), Column("parameters", ","))
TABLE = Table(
    COLUMNS,
    (
        {"model": "RNNsearch-50", "BLEU": Cell(31.2, 0.3, 26.75), "parameters": 80401000},
        {"model": "a|b", "BLEU": Cell(27, paper=26.75)},
        {"model": "Moses", "BLEU": Cell(None, paper=33.3), "parameters": None},
    ),
)


def test_markdown():
    assert to_markdown(TABLE) == (
        "| model        |                       BLEU | parameters |\n"
        "| :----------- | -------------------------: | ---------: |\n"
        "| RNNsearch-50 | 31.20 ± 0.30 (paper 26.75) | 80,401,000 |\n"
        "| a\\|b         |        27.00 (paper 26.75) |          – |\n"
        "| Moses        |            – (paper 33.30) |          – |\n"
    )


def test_narrow_columns_keep_a_valid_rule():
    assert to_markdown(Table([Column("a"), Column("b", "d")], [{"a": "x", "b": 1}])) == (
        "| a   |   b |\n| :-- | --: |\n| x   |   1 |\n"
    )


def test_a_table_as_a_dict_survives_json():
    got = json.loads(json.dumps(to_dict(TABLE), allow_nan=False))
    assert got == {
        "columns": ["model", "BLEU", "parameters"],
        "rows": [
            {
                "model": "RNNsearch-50",
                "BLEU": {"value": 31.2, "deviation": 0.3, "paper": 26.75},
                "parameters": 80401000,
            },
            {"model": "a|b", "BLEU": {"value": 27, "paper": 26.75}, "parameters": None},
            {"model": "Moses", "BLEU": {"value": None, "paper": 33.3}, "parameters": None},
        ],
    }


def test_invalid_tables_are_refused():
    with pytest.raises(ValueError, match=r"row 1 names \['blue'\]; the columns are"):
        Table(COLUMNS, ({"BLEU": 1.0}, {"blue": 1.0}))
    with pytest.raises(ValueError, match="column titles must differ"):
        Table((Column("a"), Column("a")), ())
    with pytest.raises(ValueError, match="row 0, column 'BLEU' is not finite"):
        Table(COLUMNS, ({"BLEU": Cell(1.0, deviation=float("nan"))},))
