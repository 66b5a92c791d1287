"""python -m experiments.reformer2020 [--flag=value ...]"""

from experiments.papers import main
from experiments.reformer2020.paper import PAPER

if __name__ == "__main__":
    main(PAPER)
