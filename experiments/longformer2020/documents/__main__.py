"""python -m experiments.longformer2020.documents [--flag=value ...]"""

from experiments.longformer2020.documents.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
