"""Make cuslayer/data/digits.npz, the embedded digits, from scikit-learn's copy of them.

    python benchmarks/make_digits.py

Only this script needs scikit-learn. The file is the same, byte for byte, each time.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

TARGET = Path(__file__).parents[1] / "cuslayer/data/digits.npz"
CREDIT = (
    "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, "
    "1998, doi:10.24432/C50P49, licensed under CC BY 4.0; the 1,797 digits of its test part, as scikit-learn "
    "has them"
)


def main() -> None:
    digits = load_digits()
    images = digits.images.astype(np.uint8)
    assert (images == digits.images).all()
    labels = digits.target.astype(np.uint8)
    np.savez_compressed(TARGET, images=images, labels=labels, credit=np.array(CREDIT))


if __name__ == "__main__":
    main()
