"""python -m experiments.luong2015 [--flag=value ...]"""

from experiments.luong2015.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
