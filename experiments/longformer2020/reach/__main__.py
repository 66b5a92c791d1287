"""python -m experiments.longformer2020.reach [--flag=value ...]"""

from experiments.longformer2020.reach.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
