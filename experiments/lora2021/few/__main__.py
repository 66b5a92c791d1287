"""python -m experiments.lora2021.few [--flag=value ...]"""

from experiments.lora2021.few.paper import PAPER
from experiments.papers import main

if __name__ == "__main__":
    main(PAPER)
