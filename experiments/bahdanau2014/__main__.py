"""python -m experiments.bahdanau2014 [--flag=value ...]"""

from experiments.bahdanau2014.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
