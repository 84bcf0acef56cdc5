"""Trains on a data set that the registry knows by name, such as any CSV file:

python recipes/template/train.py hparams/distill.yaml --dataset csv --data_folder FOLDER
"""

if __name__ == "__main__":
    # Here: processes that align import this file again, and need nothing of it.
    from ssr_plugin.training.run_training import main

    # For the data set that prepare.py describes: from prepare import MyDataSet, and
    # main(MyDataSet) here.
    main(None)
