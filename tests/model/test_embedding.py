"""Embeddings: one vector a photo, the same alone and in company, and nearer for like photos."""

import numpy as np
from PIL import ImageOps

from calcinosis.model.embedding import Embedder
from tests.data.drawing import skin


def test_a_copy_is_nearer_than_another_picture():
    embed = Embedder()
    photos = [skin(0), ImageOps.mirror(skin(0)), skin(1), skin(2)]
    vectors = embed(photos)
    assert vectors.dtype == np.float32
    assert vectors.shape[0] == len(photos)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = vectors @ vectors[0]
    assert likeness[1] > likeness[2:].max()
    alone = embed(photos[2:3])[0]
    assert np.dot(alone / np.linalg.norm(alone), vectors[2]) > 0.999
