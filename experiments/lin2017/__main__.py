"""python -m experiments.lin2017 [--flag=value ...]"""

from experiments.lin2017.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
