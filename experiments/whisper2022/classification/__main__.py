"""python -m experiments.whisper2022.classification [--flag=value ...]"""

from experiments.papers import main
from experiments.whisper2022.classification.paper import PAPER

if __name__ == "__main__":
    main(PAPER)
