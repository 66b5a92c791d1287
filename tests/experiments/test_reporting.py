"""What a result says of the command that made it."""

from experiments.reporting import command_line


def test_a_command_names_no_path_of_one_machine():
    words = ["--rounds=5", "--peer_python=/a/b/python", "--output=x/y.json", "--data_dir=/data"]
    expected = "python -m m.n --rounds=5 --peer_python=PATH --output=PATH --data_dir=PATH"
    assert command_line("m.n", words) == expected
