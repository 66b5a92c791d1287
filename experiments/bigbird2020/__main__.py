"""python -m experiments.bigbird2020 [--flag=value ...]"""

from experiments.bigbird2020.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
