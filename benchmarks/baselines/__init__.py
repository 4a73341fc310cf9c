"""What a researcher would use instead, each as a small script with its documented defaults.

    pip install --editable '.[bench]'
    python -m calcinosis.benchmarks.baselines.compare --manifest data/curated/pool.csv --root photos --out runs/baselines \
        --minutes 8 --folds 0 1

AutoGluon needs an environment of its own, because it pins older releases of PyTorch and timm; its Python is
named by `--python autogluon=PATH`.
"""
