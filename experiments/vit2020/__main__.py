"""python -m experiments.vit2020 [--flag=value ...]"""

from experiments.papers import main
from experiments.vit2020.paper import PAPER

if __name__ == "__main__":
    main(PAPER)
