"""python -m experiments.bert2018 [--flag=value ...]"""

from experiments.bert2018.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
