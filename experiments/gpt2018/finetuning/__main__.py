"""python -m experiments.gpt2018.finetuning [--flag=value ...]"""

from experiments.gpt2018.finetuning.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
