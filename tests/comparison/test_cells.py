"""The grid, and records of its cells."""

import pathlib

import pytest

from keras_seq.comparison.cells import Cell, CellRecord, Grid, read_cell


def test_the_grid_has_each_run_once_and_the_first_seed_first():
    cells = list(Grid({"rnn": 8, "lstm": 4}, (1e-3, 0.01), (1, 2)))
    assert len(cells) == len(set(cells)) == len(Grid({"rnn": 8, "lstm": 4}, (1e-3, 0.01), (1, 2))) == 8
    assert [cell.seed for cell in cells] == [1] * 4 + [2] * 4
    assert {(cell.architecture, cell.learning_rate) for cell in cells[:4]} == {
        (name, rate) for name in ("rnn", "lstm") for rate in (1e-3, 0.01)
    }
    assert all(cell.units == {"rnn": 8, "lstm": 4}[cell.architecture] for cell in cells)
    assert len({cell.folder for cell in cells}) == 8


def test_the_folder_of_a_run():
    assert Cell("lstm", 3e-3, 1, 96).folder == pathlib.Path("lstm/0.003-1")
    assert Cell("lstm", 3e-3, 1, 96).values == {"architecture": "lstm", "learning_rate": 3e-3, "seed": 1, "units": 96}


@pytest.mark.parametrize(
    ("rates", "seeds", "message"),
    [
        ((), (1,), "`learning_rates` must be one or more values, each once. Received: \\[\\]"),
        ((0.1, 0.1), (1,), "`learning_rates` must be one or more values, each once. Received: \\[0.1, 0.1\\]"),
        ((0.1, 0.0), (1,), "`learning_rates` must be above 0. Received: 0.0"),
        ((0.1, float("inf")), (1,), "`learning_rates` must be above 0. Received: inf"),
        ((0.1,), (2, 2), "`seeds` must be one or more values, each once"),
    ],
)
def test_a_wrong_grid(rates, seeds, message):
    with pytest.raises(ValueError, match=message):
        Grid({"rnn": 8}, rates, seeds)
    with pytest.raises(ValueError, match="`architectures`"):
        Grid({}, (0.1,), (1,))


def test_a_record_is_read_as_it_was_written(tmp_path):
    assert read_cell(tmp_path / "nothing") == CellRecord() and not CellRecord().ended
    record = CellRecord("done", "", 0.75, 100, 2.5, ((50, 0.5), (100, 0.75)), 20, 10, ((3, 3, 2, 0.5),), "worker-0")
    record.write(tmp_path / "a")
    assert read_cell(tmp_path / "a") == record and record.ended
    CellRecord("diverged", curve=((50, float("nan")),)).write(tmp_path / "a")
    assert read_cell(tmp_path / "a").curve == ((50, None),)
    (tmp_path / "a/cell.json").write_text('{"status": "do')
    with pytest.raises(ValueError, match=r"cell.json is damaged: .* Remove the folder"):
        read_cell(tmp_path / "a")
