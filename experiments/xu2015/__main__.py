"""python -m experiments.xu2015 [--flag=value ...]"""

from experiments.papers import main
from experiments.xu2015.paper import PAPER

if __name__ == "__main__":
    main(PAPER)
