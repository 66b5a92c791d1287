"""python -m experiments.vaswani2017 [--flag=value ...]"""

from experiments.papers import main
from experiments.vaswani2017.paper import PAPER

if __name__ == "__main__":
    main(PAPER)
