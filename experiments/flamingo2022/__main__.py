"""python -m experiments.flamingo2022 [--flag=value ...]"""

from experiments.flamingo2022.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
