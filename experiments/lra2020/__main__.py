"""python -m experiments.lra2020 [--flag=value ...]"""

from experiments.lra2020.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
