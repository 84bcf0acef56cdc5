"""Trains on VoxPopuli: python recipes/voxpopuli/train.py hparams/distill.yaml"""

from prepare import VoxPopuli

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    main(VoxPopuli)
