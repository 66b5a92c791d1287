"""python -m experiments.clip2021 [--flag=value ...]"""

from experiments.clip2021.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
